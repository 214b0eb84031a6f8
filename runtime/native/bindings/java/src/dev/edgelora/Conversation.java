package dev.edgelora;

/** A conversation for the chat template. */
public final class Conversation {
    private final String messagesJson;
    private String toolsJson;
    private String templateJson;
    private String date;
    private boolean generationPrompt = true;

    /** A JSON list of messages. */
    public Conversation(String messagesJson) {
        this.messagesJson = messagesJson;
    }

    /** A JSON list of the schemas of functions. */
    public Conversation toolsJson(String json) {
        toolsJson = json;
        return this;
    }

    /** A JSON object of variables for the template. */
    public Conversation templateJson(String json) {
        templateJson = json;
        return this;
    }

    /** YYYY-MM-DD; null (default): today. */
    public Conversation date(String day) {
        date = day;
        return this;
    }

    /** Whether to write what opens the model's answer; true by default. */
    public Conversation generationPrompt(boolean write) {
        generationPrompt = write;
        return this;
    }

    byte[][] texts() {
        return new byte[][] {
            Utf8.zeroEnded(messagesJson), Utf8.zeroEnded(toolsJson), Utf8.zeroEnded(templateJson), Utf8.zeroEnded(date)
        };
    }

    boolean withoutGenerationPrompt() {
        return !generationPrompt;
    }
}
