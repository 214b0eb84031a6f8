package dev.edgelora;

import java.io.Closeable;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongFunction;

/**
 * A loaded artifact, for any number of threads: it answers one call at a time, and the others wait. Calls take as long
 * as the model needs; on Android make them outside the main thread. What cannot be used is refused with an {@link
 * EdgeLoraException}.
 */
public final class Model implements Closeable {
    private final Handle handle;
    private final int vocabSize;
    private final int contextLength;

    private Model(long address) {
        handle = new Handle("the model", address);
        vocabSize = Native.vocabSize(address);
        contextLength = Native.contextLength(address);
    }

    /** Open the artifact in the folder {@code path}. */
    public static Model load(String path, LoadOptions options) {
        return new Model(Native.load(Utf8.zeroEnded(path), options.texts(), options.numbers()));
    }

    public static Model load(String path) {
        return load(path, new LoadOptions());
    }

    /** Let go of everything; waits for the calls that use the model. Answers live on. */
    @Override
    public void close() {
        handle.close(Native::freeModel);
    }

    /** Token ids go from 0 to this - 1. */
    public int vocabSize() {
        return vocabSize;
    }

    /** Tokens that a row holds at most. */
    public int contextLength() {
        return contextLength;
    }

    /** What is loaded, as a JSON object. */
    public String info() {
        return Utf8.text(held(Native::info));
    }

    /** Use {@code spec} where a call gives none. */
    public void setAdapter(String spec) {
        byte[] told = Utf8.zeroEnded(spec);
        held(model -> {
            Native.setAdapter(model, told);
            return null;
        });
    }

    /** Make a PEFT folder known as {@code name}; {@code trust} leaves its receipt unread. */
    public void loadAdapter(String name, String folder, boolean trust) {
        byte[] told = Utf8.zeroEnded(name);
        byte[] place = Utf8.zeroEnded(folder);
        held(model -> {
            Native.loadAdapter(model, told, place, trust);
            return null;
        });
    }

    /** Forget an adapter and give its memory back. */
    public void unloadAdapter(String name) {
        byte[] told = Utf8.zeroEnded(name);
        held(model -> {
            Native.unloadAdapter(model, told);
            return null;
        });
    }

    /** Hold an adapter to its receipt; a JSON object of what was found, or "null". */
    public String probe(String name) {
        byte[] told = Utf8.zeroEnded(name);
        return Utf8.text(held(model -> Native.probe(model, told)));
    }

    /** Answer a prompt. */
    public Answer generate(String prompt, Options options) {
        return generate(prompt, options, null);
    }

    /** Answer a prompt; {@code listener}, where it is not null, takes the answer piece by piece. */
    public Answer generate(String prompt, Options options, TextListener listener) {
        return ask(Native.PROMPT, Utf8.bytes(prompt), options, listener)[0];
    }

    /** Answer a conversation, a JSON list of messages. */
    public Answer chat(String messagesJson, Options options) {
        return chat(messagesJson, options, null);
    }

    public Answer chat(String messagesJson, Options options, TextListener listener) {
        return ask(Native.CHAT, Utf8.zeroEnded(messagesJson), options, listener)[0];
    }

    /** Answer several prompts together, each with its own adapter where {@link Options#adapters} says so. */
    public Answer[] generateBatch(List<String> prompts, Options options) {
        return generateBatch(prompts, options, null);
    }

    public Answer[] generateBatch(List<String> prompts, Options options, TextListener listener) {
        return ask(Native.BATCH, Utf8.list(prompts), options, listener);
    }

    /** Continue rows of token ids. */
    public Answer[] generateIds(int[][] rows, Options options) {
        long[] lengths = new long[rows.length];
        int count = 0;
        for (int row = 0; row < rows.length; row++) {
            lengths[row] = rows[row].length;
            count = Math.addExact(count, rows[row].length);
        }
        int[] ids = new int[count];
        int at = 0;
        for (int[] row : rows) {
            System.arraycopy(row, 0, ids, at, row.length);
            at += row.length;
        }
        byte[][] texts = options.texts();
        return Answer.read(held(model -> withCancel(options.cancel(), cancel ->
            Native.generateIds(model, ids, lengths, texts, options.reals(), options.numbers(cancel)))));
    }

    /** Logits after the tokens at {@code positions}, one row of the vocabulary's size for each. */
    public float[][] logits(int[] ids, String adapter, int... positions) {
        byte[] spec = Utf8.zeroEnded(adapter);
        long[] places = Arrays.stream(positions).asLongStream().toArray();
        int count = Math.multiplyExact(positions.length, vocabSize);
        float[] flat = held(model -> Native.logits(model, ids, spec, places, 0, count));
        float[][] rows = new float[positions.length][];
        for (int row = 0; row < rows.length; row++) {
            rows[row] = Arrays.copyOfRange(flat, row * vocabSize, (row + 1) * vocabSize);
        }
        return rows;
    }

    /** Token ids of a text; {@code special} adds the tokenizer's own special tokens. */
    public int[] encode(String text, boolean special) {
        byte[] told = Utf8.bytes(text);
        return held(model -> Native.encode(model, told, special));
    }

    /** The text of token ids; {@code special} writes special tokens too. */
    public String decode(int[] ids, boolean special) {
        return Utf8.text(held(model -> Native.decode(model, ids, special)));
    }

    /** The text of a conversation, to be encoded without special tokens. */
    public String render(Conversation conversation) {
        byte[][] told = conversation.texts();
        return Utf8.text(held(model -> Native.render(model, told, conversation.withoutGenerationPrompt())));
    }

    /** Token ids of {@code text} where it stands behind the raw text {@code prompt}. */
    public int[] encodeAfter(String prompt, String text, boolean special) {
        byte[] before = Utf8.bytes(prompt);
        byte[] told = Utf8.bytes(text);
        return held(model -> Native.encodeAfter(model, before, told, special));
    }

    /** Token ids of {@code answer} behind a conversation. */
    public int[] encodeAnswer(Conversation conversation, String answer) {
        byte[][] before = conversation.texts();
        byte[] told = Utf8.bytes(answer);
        return held(model -> Native.encodeAnswer(model, before, conversation.withoutGenerationPrompt(), told));
    }

    private Answer[] ask(int form, byte[] asked, Options options, TextListener listener) {
        byte[][] texts = options.texts();
        return Answer.read(held(model -> withCancel(options.cancel(), cancel ->
            Native.generate(model, form, asked, texts, options.reals(), options.numbers(cancel), listener))));
    }

    <T> T held(LongFunction<T> call) {
        long model = handle.hold();
        try {
            return call.apply(model);
        } finally {
            handle.release();
        }
    }

    static <T> T withCancel(Cancel flag, LongFunction<T> call) {
        if (flag == null) {
            return call.apply(0);
        }
        long cancel = flag.handle.hold();
        try {
            return call.apply(cancel);
        } finally {
            flag.handle.release();
        }
    }
}
