package dev.edgelora;

/** What needs no model. */
public final class EdgeLora {
    private EdgeLora() {}

    /** The version of the library. */
    public static String version() {
        return Utf8.text(Native.version());
    }

    /** The text of a conversation with a chat template of the caller's. */
    public static String renderTemplate(String source, Conversation conversation) {
        byte[][] told = conversation.texts();
        return Utf8.text(Native.renderTemplate(Utf8.bytes(source), told, conversation.withoutGenerationPrompt()));
    }

    /** Hold the content of a file to the format: a "manifest", "receipt", "adapter_config" or "safetensors" file. */
    public static void checkFile(String kind, byte[] content) {
        Native.checkFile(Utf8.zeroEnded(kind), content);
    }

    /** Whether PEFT's {@code field} ("target_modules" or "rank_pattern") with {@code pattern} names {@code module}. */
    public static boolean matchModule(String field, String pattern, String module) {
        return Native.matchModule(Utf8.zeroEnded(field), Utf8.zeroEnded(pattern), Utf8.zeroEnded(module));
    }

    /** The first numbers of the generator that seeded draws use, each of 32 bits. */
    public static long[] random(long seed, long stream, int count) {
        int[] drawn = Native.random(seed, stream, count);
        long[] found = new long[drawn.length];
        for (int at = 0; at < drawn.length; at++) {
            found[at] = Integer.toUnsignedLong(drawn[at]);
        }
        return found;
    }

    /** Choose a token for each row of logits, in order, as row {@code row} of a batch with this prompt would. */
    public static int[] sample(float[][] logits, int[] promptIds, int row, Options options) {
        int width = logits.length == 0 ? 0 : logits[0].length;
        float[] flat = new float[Math.multiplyExact(logits.length, width)];
        for (int step = 0; step < logits.length; step++) {
            if (logits[step].length != width) {
                throw Utf8.refusal("rows of logits differ in length; give each the vocabulary's size");
            }
            System.arraycopy(logits[step], 0, flat, step * width, width);
        }
        return Native.sample(flat, width, promptIds, row, options.texts(), options.reals(), options.numbers(0));
    }
}
