package dev.edgelora;

/** A refusal: a code, and one line that says what was found, what was expected and what to do. */
public final class EdgeLoraException extends RuntimeException {
    private static final long serialVersionUID = 1L;
    private final Code code;

    EdgeLoraException(Code code, String message) {
        super(message);
        this.code = code;
    }

    public Code code() {
        return code;
    }
}
