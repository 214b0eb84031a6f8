package dev.edgelora;

/** One answer. */
public final class Answer {
    /** Without stop strings and special tokens; empty where token ids were asked. */
    public final String text;
    /** Without the end token. */
    public final int[] tokenIds;
    /** "stop", "length", "choice", or "cancelled" where a listener ended the row. */
    public final String finishReason;
    /** Tokens of the prompt as the model got it. */
    public final long promptTokens;
    /** With choices: the log-probability of each, in their order; else empty. */
    public final double[] scores;

    private Answer(String text, int[] tokenIds, String finishReason, long promptTokens, double[] scores) {
        this.text = text;
        this.tokenIds = tokenIds;
        this.finishReason = finishReason;
        this.promptTokens = promptTokens;
        this.scores = scores;
    }

    /** Native code gives five things for each row. */
    static Answer[] read(Object[] told) {
        Answer[] found = new Answer[told.length / 5];
        for (int row = 0, at = 0; row < found.length; row++, at += 5) {
            String text = Utf8.text((byte[]) told[at]);
            String reason = Utf8.text((byte[]) told[at + 2]);
            long promptTokens = ((long[]) told[at + 3])[0];
            found[row] = new Answer(text, (int[]) told[at + 1], reason, promptTokens, (double[]) told[at + 4]);
        }
        return found;
    }

    @Override
    public String toString() {
        return text;
    }
}
