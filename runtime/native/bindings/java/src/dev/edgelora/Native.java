package dev.edgelora;

/** The functions of {@code edgelora_jni.cpp} and {@code encoders_jni.cpp}. Texts are UTF-8; addresses are those of handles. */
final class Native {
    /** The forms of what {@link #generate} is asked. */
    static final int PROMPT = 0;
    static final int CHAT = 1;
    static final int BATCH = 2;

    private Native() {}

    static {
        System.loadLibrary("edgelora_jni");
    }

    static native byte[] version();

    static native long createCancel();

    static native void freeCancel(long cancel);

    static native void setCancel(long cancel);

    static native void resetCancel(long cancel);

    static native long load(byte[] path, byte[][] texts, long[] numbers);

    static native void freeModel(long model);

    static native int vocabSize(long model);

    static native int contextLength(long model);

    static native byte[] info(long model);

    static native void setAdapter(long model, byte[] spec);

    static native void loadAdapter(long model, byte[] name, byte[] folder, boolean trust);

    static native void loadAdapterWithLabels(long model, byte[] name, byte[] folder, byte[] labels, boolean trust);

    static native void unloadAdapter(long model, byte[] name);

    static native byte[] probe(long model, byte[] name);

    static native Object[] generate(
            long model, int form, byte[] asked, byte[][] texts, double[] reals, long[] numbers, TextListener listener);

    static native Object[] generateIds(
            long model, int[] ids, long[] lengths, byte[][] texts, double[] reals, long[] numbers);

    static native float[] logits(long model, int[] ids, byte[] adapter, long[] positions, long cancel, int count);

    static native byte[] labels(long model, byte[] spec);

    static native byte[] encoded(long model, int form, byte[] asked, byte[][] texts, long cancel);

    static native byte[] encodedPixels(long model, int form, float[] pixels, byte[][] texts, long cancel);

    static native Object[] embed(long model, byte[] asked, int count, byte[][] texts, long cancel);

    static native Object[] outputs(long model, int[] ids, long[] lengths, byte[][] texts, long cancel);

    static native Object[] outputsOfPixels(long model, float[] pixels, int count, byte[][] texts, long cancel);

    static native int[] encode(long model, byte[] text, boolean special);

    static native byte[] decode(long model, int[] ids, boolean special);

    static native byte[] render(long model, byte[][] conversation, boolean noGenerationPrompt);

    static native byte[] renderTemplate(byte[] source, byte[][] conversation, boolean noGenerationPrompt);

    static native int[] encodeAfter(long model, byte[] prompt, byte[] text, boolean special);

    static native int[] encodeAnswer(long model, byte[][] conversation, boolean noGenerationPrompt, byte[] answer);

    static native void checkFile(byte[] kind, byte[] content);

    static native boolean matchModule(byte[] field, byte[] pattern, byte[] module);

    static native int[] random(long seed, long stream, int count);

    static native int[] sample(
            float[] logits, int width, int[] promptIds, long row, byte[][] texts, double[] reals, long[] numbers);

    /** Called by native code: what a call throws that the library refuses. */
    static EdgeLoraException refused(int code, byte[] message) {
        return new EdgeLoraException(Code.of(code), Utf8.text(message));
    }

    /** Called by native code. */
    static boolean take(TextListener listener, int row, byte[] piece) {
        return listener.onText(row, Utf8.text(piece));
    }
}
