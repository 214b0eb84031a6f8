package dev.edgelora;

/** How an artifact is opened; {@code edgelora_load_options} of {@code edgelora.h}. */
public final class LoadOptions {
    private int threads;
    private String onnxruntime;
    private String cache;
    private String operators;
    private long adapterBytes;
    private boolean hashes;
    private boolean probe;
    private boolean twin;

    /** For one matrix product; 0 (default): the physical cores of the process, at most four. */
    public LoadOptions threads(int count) {
        threads = count;
        return this;
    }

    /** Path of the onnxruntime library; null (default): the one that the process or the system has. */
    public LoadOptions onnxruntime(String path) {
        onnxruntime = path;
        return this;
    }

    /** A folder where the graph is kept as onnxruntime packed it, so that later loads are quick; null (default): none. */
    public LoadOptions cache(String folder) {
        cache = folder;
        return this;
    }

    /** Path of libedgelora_ops; "" leaves its operators; null (default): the one beside the library. */
    public LoadOptions operators(String path) {
        operators = path;
        return this;
    }

    /** Memory for adapters; 0 (default): no bound. */
    public LoadOptions adapterBytes(long bytes) {
        adapterBytes = bytes;
        return this;
    }

    /** Check every byte of every file. */
    public LoadOptions hashes(boolean check) {
        hashes = check;
        return this;
    }

    /** Hold every adapter to its receipt. */
    public LoadOptions probe(boolean replay) {
        probe = replay;
        return this;
    }

    /** Keep the graph without slots beside the one with slots. */
    public LoadOptions twin(boolean keep) {
        twin = keep;
        return this;
    }

    byte[][] texts() {
        return new byte[][] {Utf8.zeroEnded(onnxruntime), Utf8.zeroEnded(cache), Utf8.zeroEnded(operators)};
    }

    long[] numbers() {
        return new long[] {threads, adapterBytes, hashes ? 1 : 0, probe ? 1 : 0, twin ? 1 : 0};
    }
}
