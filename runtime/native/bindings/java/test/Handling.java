import dev.edgelora.Answer;
import dev.edgelora.Cancel;
import dev.edgelora.Code;
import dev.edgelora.EdgeLoraException;
import dev.edgelora.Model;
import dev.edgelora.Options;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;

/** What the binding adds to the C interface: exceptions of listeners, handles, texts. The argument is an artifact. */
final class Handling {
    private static final Options SHORT = new Options().maxNewTokens(16);

    private Handling() {}

    public static void main(String[] arguments) throws Exception {
        Model model = Model.load(arguments[0]);
        Answer whole = model.generate("Zürich 🚀", SHORT);
        check(whole.tokenIds.length == 16 && whole.finishReason.equals("length"), whole.finishReason);

        RuntimeException thrown = new IllegalArgumentException("of the listener");
        int[] calls = {0};
        RuntimeException found = refused(RuntimeException.class, () -> model.generateBatch(
            Arrays.asList("one", "two", "three"), SHORT, (row, piece) -> {
                calls[0]++;
                throw thrown;
            }));
        check(found == thrown && calls[0] == 1, found + " after " + calls[0] + " calls");
        check(model.generate("Zürich 🚀", SHORT).text.equals(whole.text), "the model answers as before");

        List<String> pieces = new ArrayList<>();
        Answer ended = model.generate("Zürich 🚀", SHORT, (row, piece) -> !pieces.add(piece));
        check(ended.finishReason.equals("cancelled") && pieces.size() == 1, ended.finishReason + pieces);

        StringBuilder chatted = new StringBuilder();
        Answer answer = model.chat("[{\"role\": \"user\", \"content\": \"Hello\"}]", SHORT, (row, piece) -> {
            chatted.append(piece);
            return true;
        });
        check(answer.text.contentEquals(chatted), answer.text + " was streamed as " + chatted);

        code(Code.INVALID_INPUT, () -> model.generate("half a pair: \ud83d", SHORT));
        refused(NullPointerException.class, () -> model.encode(null, false));
        code(Code.ADAPTER, () -> model.generate("Hello", new Options().adapter("nobody")));
        code(Code.INVALID_INPUT, () -> model.generate("Hello", new Options().adapter("zero\0byte")));
        code(Code.ARTIFACT, () -> Model.load(arguments[0] + "/nowhere"));
        code(Code.INVALID_INPUT, () -> model.generate("Hello", SHORT, (row, piece) -> {
            model.generate("within", SHORT);
            return true;
        }));
        refused(IllegalStateException.class, () -> model.generate("Hello", SHORT, (row, piece) -> {
            model.close();
            return true;
        }));

        String one = model.generate("Hello", new Options().maxNewTokens(16).adapter("one")).text;
        model.loadAdapter("again", arguments[0] + "/adapters/one", true);
        model.setAdapter("again");
        check(model.generate("Hello", SHORT).text.equals(one), "the same adapter by another name");
        check(model.probe("again").matches("null|\\{.*\\}"), model.probe("again"));
        code(Code.ADAPTER, () -> {
            model.unloadAdapter("again");
            return null;
        });
        model.setAdapter("none");
        check(model.info().contains("\"again\""), model.info());
        model.unloadAdapter("again");
        check(!model.info().contains("\"again\""), model.info());

        Cancel cancel = new Cancel();
        Options cancelled = new Options().maxNewTokens(100_000_000).cancel(cancel);
        code(Code.CANCELLED, () -> model.generate("Hello", new Options().cancel(cancel), (row, piece) -> {
            cancel.set();
            return true;
        }));
        code(Code.CANCELLED, () -> model.generateIds(new int[][] {{1, 2}}, new Options().cancel(cancel)));
        cancel.reset();
        check(model.generate("Hello", new Options().maxNewTokens(2).cancel(cancel)).tokenIds.length == 2, "reset");
        cancel.close();
        cancel.close();
        refused(IllegalStateException.class, () -> model.generate("Hello", cancelled));

        Thread[] threads = new Thread[4];
        String[] answers = new String[threads.length];
        Arrays.setAll(threads, index -> new Thread(() -> answers[index] = model.generate("Zürich 🚀", SHORT).text));
        Arrays.stream(threads).forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
        check(Arrays.stream(answers).allMatch(whole.text::equals), Arrays.toString(answers));
        model.close();
        model.close();
        refused(IllegalStateException.class, model::info);
        System.out.println("handled");
    }

    private static void check(boolean holds, String found) {
        if (!holds) {
            throw new AssertionError(found);
        }
    }

    private static void code(Code expected, Callable<?> call) throws Exception {
        EdgeLoraException found = refused(EdgeLoraException.class, call);
        check(found.code() == expected, found.code() + ": " + found.getMessage());
    }

    private static <T extends Throwable> T refused(Class<T> kind, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (Throwable found) {
            if (kind.isInstance(found)) {
                return kind.cast(found);
            }
            throw new AssertionError("expected " + kind, found);
        }
        throw new AssertionError("expected " + kind);
    }
}
