package dev.edgelora;

/** Takes an answer while it is made, in the thread of the call. */
public interface TextListener {
    /**
     * A piece of the answer of prompt number {@code row}: never empty, whole characters. True goes on; false ends that
     * row. What it throws ends every row and comes out of the call. It must not ask the model that it listens to.
     */
    boolean onText(int row, String piece);
}
