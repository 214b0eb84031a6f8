package dev.edgelora;

import java.util.Arrays;

/** A vector for each text, and which texts were longer than the model reads and lost their end. */
public final class Embeddings {
    public final float[][] vectors;
    public final boolean[] truncated;

    Embeddings(float[] flat, long[] cut) {
        vectors = new float[cut.length][];
        truncated = new boolean[cut.length];
        int size = cut.length == 0 ? 0 : flat.length / cut.length;
        for (int text = 0; text < cut.length; text++) {
            vectors[text] = Arrays.copyOfRange(flat, text * size, (text + 1) * size);
            truncated[text] = cut[text] != 0;
        }
    }
}
