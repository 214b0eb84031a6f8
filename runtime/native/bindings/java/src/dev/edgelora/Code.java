package dev.edgelora;

/** What kind of thing was wrong; the numbers are those of {@code edgelora.h}. */
public enum Code {
    INVALID_INPUT,
    ARTIFACT,
    ADAPTER,
    CANCELLED,
    UNSUPPORTED,
    MEMORY,
    INTERNAL;

    /** The number of {@code edgelora.h}. */
    public int number() {
        return ordinal() + 1;
    }

    static Code of(int number) {
        Code[] codes = values();
        return number < 1 || number > codes.length ? INTERNAL : codes[number - 1];
    }
}
