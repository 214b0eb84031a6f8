package dev.edgelora;

import java.io.Closeable;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongFunction;

/**
 * A loaded classifier, tagger or embedder, for any number of threads: it answers one call at a time, and the others
 * wait. What cannot be used is refused with an {@link EdgeLoraException}.
 */
public final class Encoder implements Closeable {
    private static final int CLASSIFY = 0;
    private static final int EACH = 1;
    private static final int TAG = 2;

    private final Model model;

    private Encoder(Model model) {
        this.model = model;
    }

    /** Open the artifact in the folder {@code path}. */
    public static Encoder load(String path, LoadOptions options) {
        return new Encoder(Model.load(path, options));
    }

    public static Encoder load(String path) {
        return load(path, new LoadOptions());
    }

    /** Let go of everything; waits for the calls that use the model. */
    @Override
    public void close() {
        model.close();
    }

    /** Adapters, tokenizer and what is loaded: all that every artifact has. */
    public Model model() {
        return model;
    }

    /** The same as {@link Model#loadAdapter}, with the labels of the adapter's head where no receipt has them. */
    public void loadAdapter(String name, String folder, List<String> labels, boolean trust) {
        byte[] told = Utf8.zeroEnded(name);
        byte[] place = Utf8.zeroEnded(folder);
        byte[] names = Utf8.list(labels);
        model.held(address -> {
            Native.loadAdapterWithLabels(address, told, place, names, trust);
            return null;
        });
    }

    /** What the head of a SPEC, or for null of the one that is set, answers with: a JSON object, or "null". */
    public String labels(String spec) {
        byte[] told = Utf8.zeroEnded(spec);
        return Utf8.text(model.held(address -> Native.labels(address, told)));
    }

    /** Classify texts; a JSON list of answers, as {@code edgelora_classify} tells them. */
    public String classify(List<String> texts, EncoderOptions options) {
        return encoded(CLASSIFY, Utf8.list(texts), options);
    }

    /** What each of {@link EncoderOptions#adapters} says of one text, by SPEC; without them every adapter. */
    public String classifyEach(String text, EncoderOptions options) {
        return encoded(EACH, Utf8.bytes(text), options);
    }

    /** Tag texts; a JSON list of answers, as {@code edgelora_tag} tells them. */
    public String tag(List<String> texts, EncoderOptions options) {
        return encoded(TAG, Utf8.list(texts), options);
    }

    /** Classify images, one after the other in {@code pixels}, prepared as the model's own processor does. */
    public String classifyPixels(float[] pixels, EncoderOptions options) {
        byte[][] texts = options.texts();
        return Utf8.text(call(options, (address, cancel) ->
            Native.encodedPixels(address, CLASSIFY, pixels, texts, cancel)));
    }

    /** What each of {@link EncoderOptions#adapters} says of one image. */
    public String classifyEachPixels(float[] pixels, EncoderOptions options) {
        byte[][] texts = options.texts();
        return Utf8.text(call(options, (address, cancel) ->
            Native.encodedPixels(address, EACH, pixels, texts, cancel)));
    }

    /** Vectors of texts. */
    public Embeddings embed(List<String> texts, EncoderOptions options) {
        byte[] asked = Utf8.list(texts);
        byte[][] specs = options.texts();
        Object[] found = call(options, (address, cancel) ->
            Native.embed(address, asked, texts.size(), specs, cancel));
        return new Embeddings((float[]) found[0], (long[]) found[1]);
    }

    /** What the graph gives for rows of token ids, special tokens included. */
    public float[][] outputs(int[][] rows, EncoderOptions options) {
        long[] lengths = Arrays.stream(rows).mapToLong(row -> row.length).toArray();
        int[] ids = Arrays.stream(rows).flatMapToInt(Arrays::stream).toArray();
        byte[][] texts = options.texts();
        return split(call(options, (address, cancel) -> Native.outputs(address, ids, lengths, texts, cancel)));
    }

    /** The same for {@code count} images, as {@link #classifyPixels} takes them. */
    public float[][] outputsOfPixels(float[] pixels, int count, EncoderOptions options) {
        byte[][] texts = options.texts();
        return split(call(options, (address, cancel) ->
            Native.outputsOfPixels(address, pixels, count, texts, cancel)));
    }

    private interface Ask<T> {
        T of(long address, long cancel);
    }

    private String encoded(int form, byte[] asked, EncoderOptions options) {
        byte[][] texts = options.texts();
        return Utf8.text(call(options, (address, cancel) -> Native.encoded(address, form, asked, texts, cancel)));
    }

    private <T> T call(EncoderOptions options, Ask<T> ask) {
        LongFunction<T> run =
            address -> Model.withCancel(options.cancel(), cancel -> ask.of(address, cancel));
        return model.held(run);
    }

    private static float[][] split(Object[] found) {
        float[] flat = (float[]) found[0];
        long[] counts = (long[]) found[1];
        float[][] rows = new float[counts.length][];
        int at = 0;
        for (int row = 0; row < rows.length; row++) {
            rows[row] = Arrays.copyOfRange(flat, at, at + (int) counts[row]);
            at += (int) counts[row];
        }
        return rows;
    }
}
