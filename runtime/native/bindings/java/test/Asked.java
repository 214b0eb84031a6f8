import dev.edgelora.Answer;
import dev.edgelora.Conversation;
import dev.edgelora.EdgeLora;
import dev.edgelora.EdgeLoraException;
import dev.edgelora.Embeddings;
import dev.edgelora.Encoder;
import dev.edgelora.EncoderOptions;
import dev.edgelora.LoadOptions;
import dev.edgelora.Model;
import dev.edgelora.Options;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Answers questions on standard input through the binding; {@code bindings/README.md} says how they are written. */
final class Asked {
    private static Encoder encoder;
    private static Model model;

    private Asked() {}

    public static void main(String[] arguments) throws IOException {
        DataInputStream input = new DataInputStream(System.in);
        OutputStream output = new BufferedOutputStream(System.out);
        for (List<byte[]> fields = read(input); fields != null; fields = read(input)) {
            List<byte[]> found = new ArrayList<>();
            try {
                found.add(bytes("ok"));
                answer(fields, found);
            } catch (EdgeLoraException error) {
                String number = Integer.toString(error.code().number());
                found = Arrays.asList(bytes("error"), bytes(number), bytes(error.getMessage()));
            }
            write(output, found);
        }
        model.close();
    }

    private static void rows(List<byte[]> out, float[][] rows) {
        for (float[] row : rows) {
            ByteBuffer bytes = ByteBuffer.allocate(4 * row.length).order(ByteOrder.LITTLE_ENDIAN);
            bytes.asFloatBuffer().put(row);
            out.add(bytes.array());
        }
    }

    private static EncoderOptions encoderOptions(String told) {
        EncoderOptions found = new EncoderOptions();
        List<String> specs = new ArrayList<>();
        for (String pair : told.split("\u001e")) {
            String value = pair.substring(pair.indexOf('=') + 1);
            if (pair.startsWith("adapters=")) {
                specs.add(value);
            } else if (pair.startsWith("adapter=")) {
                found.adapter(value);
            }
        }
        return specs.isEmpty() ? found : found.adapters(specs);
    }

    private static void answer(List<byte[]> fields, List<byte[]> out) {
        List<String> told = new ArrayList<>();
        fields.forEach(field -> told.add(new String(field, StandardCharsets.UTF_8)));
        String first = told.size() > 1 ? told.get(1) : "";
        String second = told.size() > 2 ? told.get(2) : "";
        String third = told.size() > 3 ? told.get(3) : "";
        switch (told.get(0)) {
            case "load":
                if (model != null) {
                    model.close();
                }
                encoder = Encoder.load(first, new LoadOptions().hashes(!first.endsWith("tiny-wrong")));
                model = encoder.model();
                break;
            case "load_adapter_with_labels":
                encoder.loadAdapter(first, second, told.subList(4, told.size()), third.equals("1"));
                break;
            case "labels":
                out.add(bytes(encoder.labels(first)));
                break;
            case "classify":
                out.add(bytes(encoder.classify(told.subList(2, told.size()), encoderOptions(first))));
                break;
            case "tag":
                out.add(bytes(encoder.tag(told.subList(2, told.size()), encoderOptions(first))));
                break;
            case "each":
                out.add(bytes(encoder.classifyEach(second, encoderOptions(first))));
                break;
            case "classify_pixels":
                out.add(bytes(encoder.classifyPixels(floats(fields.get(2)), encoderOptions(first))));
                break;
            case "embed": {
                Embeddings found = encoder.embed(told.subList(2, told.size()), encoderOptions(first));
                StringBuilder cut = new StringBuilder();
                for (boolean isCut : found.truncated) {
                    cut.append(isCut ? "1 " : "0 ");
                }
                out.add(bytes(cut.toString().trim()));
                rows(out, found.vectors);
                break;
            }
            case "outputs": {
                String[] lines = second.split("\n", -1);
                int[][] rows = new int[lines.length][];
                Arrays.setAll(rows, row -> ints(lines[row]));
                rows(out, encoder.outputs(rows, encoderOptions(first)));
                break;
            }
            case "outputs_of_pixels":
                rows(out, encoder.outputsOfPixels(
                    floats(fields.get(3)), Integer.parseInt(second), encoderOptions(first)));
                break;
            case "info":
                out.add(bytes(model.info()));
                break;
            case "set_adapter":
                model.setAdapter(first);
                break;
            case "load_adapter":
                model.loadAdapter(first, second, false);
                break;
            case "unload_adapter":
                model.unloadAdapter(first);
                break;
            case "probe":
                out.add(bytes(model.probe(first)));
                break;
            case "generate":
                answers(out, model.generate(first, options(second)));
                break;
            case "stream": {
                List<byte[]> pieces = new ArrayList<>();
                answers(out, model.generate(first, options(second), (row, piece) -> pieces.add(bytes(piece))));
                out.addAll(pieces);
                break;
            }
            case "chat":
                answers(out, model.chat(first, options(second)));
                break;
            case "batch":
                answers(out, model.generateBatch(told.subList(2, told.size()), options(first)));
                break;
            case "ids": {
                String[] lines = first.split("\n", -1);
                int[][] rows = new int[lines.length][];
                Arrays.setAll(rows, row -> ints(lines[row]));
                answers(out, model.generateIds(rows, options(second)));
                break;
            }
            case "logits":
                rows(out, model.logits(ints(first), second, ints(third)));
                break;
            case "encode":
                out.add(joined(model.encode(first, second.equals("1"))));
                break;
            case "decode":
                out.add(bytes(model.decode(ints(first), second.equals("1"))));
                break;
            case "render":
                out.add(bytes(model.render(conversation(first))));
                break;
            case "render_template":
                out.add(bytes(EdgeLora.renderTemplate(first, conversation(second))));
                break;
            case "encode_after":
                out.add(joined(model.encodeAfter(first, second, third.equals("1"))));
                break;
            case "encode_answer":
                out.add(joined(model.encodeAnswer(conversation(first), second)));
                break;
            case "check_file":
                EdgeLora.checkFile(first, fields.get(2));
                break;
            case "match_module":
                out.add(bytes(EdgeLora.matchModule(first, second, third) ? "1" : "0"));
                break;
            case "random": {
                String[] given = first.split(" ");
                long[] drawn = EdgeLora.random(
                    Long.parseUnsignedLong(given[0]), Long.parseUnsignedLong(given[1]), Integer.parseInt(given[2]));
                out.add(bytes(Arrays.toString(drawn).replaceAll("[\\[\\],]", "")));
                break;
            }
            case "sample": {
                float[][] rows = new float[fields.size() - 4][];
                Arrays.setAll(rows, row -> floats(fields.get(row + 4)));
                out.add(joined(EdgeLora.sample(rows, ints(first), Integer.parseInt(second), options(third))));
                break;
            }
            default:
                throw new IllegalArgumentException(told.get(0) + " is no question");
        }
    }

    private static void answers(List<byte[]> out, Answer... given) {
        for (Answer answer : given) {
            out.add(bytes(answer.text));
            out.add(joined(answer.tokenIds));
            out.add(bytes(answer.finishReason));
            out.add(bytes(Long.toString(answer.promptTokens)));
            out.add(bytes(Arrays.toString(answer.scores).replaceAll("[\\[\\],]", "")));
        }
    }

    private static Options options(String told) {
        Options found = new Options();
        List<String> adapters = new ArrayList<>();
        List<String> stop = new ArrayList<>();
        List<String> choices = new ArrayList<>();
        for (String[] pair : pairs(told)) {
            String value = pair[1];
            switch (pair[0]) {
                case "adapter": found.adapter(value); break;
                case "adapters": adapters.add(value); break;
                case "stop": stop.add(value); break;
                case "choices": choices.add(value); break;
                case "max_new_tokens": found.maxNewTokens(Integer.parseInt(value)); break;
                case "temperature": found.temperature(Double.parseDouble(value)); break;
                case "top_k": found.topK(Integer.parseInt(value)); break;
                case "top_p": found.topP(Double.parseDouble(value)); break;
                case "min_p": found.minP(Double.parseDouble(value)); break;
                case "repetition_penalty": found.repetitionPenalty(Double.parseDouble(value)); break;
                case "seed": found.seed(Long.parseUnsignedLong(value)); break;
                case "raw": found.raw(value.equals("1")); break;
                default: throw new IllegalArgumentException(pair[0] + " is no option");
            }
        }
        found.adapters(adapters.isEmpty() ? null : adapters);
        if (!stop.isEmpty()) {
            found.stop(stop.toArray(new String[0]));
        }
        return choices.isEmpty() ? found : found.choices(choices.toArray(new String[0]));
    }

    private static Conversation conversation(String told) {
        Conversation found = null;
        for (String[] pair : pairs(told)) {
            switch (pair[0]) {
                case "messages": found = new Conversation(pair[1]); break;
                case "tools": found.toolsJson(pair[1]); break;
                case "template": found.templateJson(pair[1]); break;
                case "date": found.date(pair[1]); break;
                case "no_generation_prompt": found.generationPrompt(!pair[1].equals("1")); break;
                default: throw new IllegalArgumentException(pair[0] + " belongs to no conversation");
            }
        }
        return found;
    }

    private static List<String[]> pairs(String told) {
        List<String[]> found = new ArrayList<>();
        for (String pair : told.split("\u001e", -1)) {
            if (!pair.isEmpty()) {
                found.add(pair.split("=", 2));
            }
        }
        return found;
    }

    private static int[] ints(String text) {
        return Arrays.stream(text.split(" ")).filter(item -> !item.isEmpty()).mapToInt(Integer::parseInt).toArray();
    }

    private static byte[] joined(int[] values) {
        return bytes(Arrays.toString(values).replaceAll("[\\[\\],]", ""));
    }

    private static float[] floats(byte[] bytes) {
        float[] found = new float[bytes.length / 4];
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(found);
        return found;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static List<byte[]> read(DataInputStream input) throws IOException {
        int count;
        try {
            count = Integer.reverseBytes(input.readInt());
        } catch (EOFException end) {
            return null;
        }
        List<byte[]> found = new ArrayList<>();
        for (int field = 0; field < count; field++) {
            byte[] bytes = new byte[Integer.reverseBytes(input.readInt())];
            input.readFully(bytes);
            found.add(bytes);
        }
        return found;
    }

    private static void write(OutputStream output, List<byte[]> fields) throws IOException {
        ByteBuffer size = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN);
        output.write(size.putInt(0, fields.size()).array());
        for (byte[] field : fields) {
            output.write(size.putInt(0, field.length).array());
            output.write(field);
        }
        output.flush();
    }
}
