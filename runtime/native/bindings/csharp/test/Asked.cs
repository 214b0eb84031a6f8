using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using EdgeLora;

/// <summary>Answers questions on standard input through the binding; bindings/README.md says how they are written.</summary>
internal static class Asked
{
    private static readonly UTF8Encoding Utf8 = new UTF8Encoding(false, true);
    private static Model model;

    private static void Main()
    {
        using (var input = new BinaryReader(Console.OpenStandardInput()))
        using (var output = new BinaryWriter(new BufferedStream(Console.OpenStandardOutput())))
        {
            for (var fields = Read(input); fields != null; fields = Read(input))
            {
                List<byte[]> found;
                try
                {
                    found = Answer(fields);
                    found.Insert(0, Bytes("ok"));
                }
                catch (EdgeLoraException error)
                {
                    found = new List<byte[]> { Bytes("error"), Bytes(((int)error.Code).ToString()), Bytes(error.Message) };
                }
                output.Write(found.Count);
                foreach (var field in found)
                {
                    output.Write(field.Length);
                    output.Write(field);
                }
                output.Flush();
            }
        }
        model.Dispose();
    }

    private static List<byte[]> Answer(List<byte[]> fields)
    {
        Func<int, string> Text = index => Utf8.GetString(fields[index]);
        Func<int, bool> Flag = index => Text(index) == "1";
        switch (Text(0))
        {
            case "load":
                model?.Dispose();
                // Hashes look at every entry and file.
                var hashes = !Text(1).EndsWith("tiny-wrong", StringComparison.Ordinal);
                model = Model.Load(Text(1), new LoadOptions { Hashes = hashes });
                return new List<byte[]>();
            case "info":
                return One(model.Info());
            case "set_adapter":
                model.SetAdapter(Text(1));
                return new List<byte[]>();
            case "load_adapter":
                model.LoadAdapter(Text(1), Text(2));
                return new List<byte[]>();
            case "load_adapter_with_labels":
                model.LoadAdapter(Text(1), Text(2), fields.Skip(4).Select(Utf8.GetString), Flag(3));
                return new List<byte[]>();
            case "labels":
                return One(model.Labels(Text(1)));
            case "classify":
                return One(model.Classify(fields.Skip(2).Select(Utf8.GetString), EncoderOptions(Text(1))));
            case "tag":
                return One(model.Tag(fields.Skip(2).Select(Utf8.GetString), EncoderOptions(Text(1))));
            case "each":
                return One(model.ClassifyEach(Text(2), EncoderOptions(Text(1))));
            case "classify_pixels":
                return One(model.ClassifyPixels(Floats(fields[2]), EncoderOptions(Text(1))));
            case "embed":
                var embedded = model.Embed(fields.Skip(2).Select(Utf8.GetString).ToList(), EncoderOptions(Text(1)));
                var cut = Joined(embedded.Truncated.Select(isCut => isCut ? 1 : 0));
                return One(cut).Concat(embedded.Vectors.Select(RowBytes)).ToList();
            case "outputs":
                var idRows = Text(2).Split('\n').Select(Ints).ToList();
                return model.Outputs(idRows, EncoderOptions(Text(1))).Select(RowBytes).ToList();
            case "outputs_of_pixels":
                var images = model.OutputsOfPixels(Floats(fields[3]), int.Parse(Text(2)), EncoderOptions(Text(1)));
                return images.Select(RowBytes).ToList();
            case "unload_adapter":
                model.UnloadAdapter(Text(1));
                return new List<byte[]>();
            case "probe":
                return One(model.Probe(Text(1)));
            case "generate":
                return Answers(model.Generate(Text(1), Options(Text(2))));
            case "stream":
                var pieces = new List<byte[]>();
                var whole = model.Generate(Text(1), Options(Text(2)), (row, piece) =>
                {
                    pieces.Add(Bytes(piece));
                    return true;
                });
                return Answers(whole).Concat(pieces).ToList();
            case "chat":
                return Answers(model.Chat(Text(1), Options(Text(2))));
            case "batch":
                return Answers(model.GenerateBatch(fields.Skip(2).Select(Utf8.GetString), Options(Text(1))));
            case "ids":
                return Answers(model.GenerateIds(Text(1).Split('\n').Select(Ints).ToList(), Options(Text(2))));
            case "logits":
                return model.Logits(Ints(Text(1)), Text(2), Ints(Text(3))).Select(RowBytes).ToList();
            case "encode":
                return One(Joined(model.Encode(Text(1), Flag(2))));
            case "decode":
                return One(model.Decode(Ints(Text(1)), Flag(2)));
            case "render":
                return One(model.Render(Conversation(Text(1))));
            case "render_template":
                return One(Model.RenderTemplate(Text(1), Conversation(Text(2))));
            case "encode_after":
                return One(Joined(model.EncodeAfter(Text(1), Text(2), Flag(3))));
            case "encode_answer":
                return One(Joined(model.EncodeAnswer(Conversation(Text(1)), Text(2))));
            case "check_file":
                Library.CheckFile(Text(1), fields[2]);
                return new List<byte[]>();
            case "match_module":
                return One(Library.MatchModule(Text(1), Text(2), Text(3)) ? "1" : "0");
            case "random":
                var given = Text(1).Split(' ');
                return One(Joined(Library.Random(ulong.Parse(given[0]), ulong.Parse(given[1]), int.Parse(given[2]))));
            case "sample":
                var rows = fields.Skip(4).Select(Floats).ToList();
                return One(Joined(Library.Sample(rows, Ints(Text(1)), int.Parse(Text(2)), Options(Text(3)))));
            default:
                throw new ArgumentException(Text(0) + " is no question");
        }
    }

    private static byte[] RowBytes(float[] row)
    {
        var bytes = new byte[4 * row.Length];
        Buffer.BlockCopy(row, 0, bytes, 0, bytes.Length);
        return bytes;
    }

    private static EncoderOptions EncoderOptions(string told)
    {
        var specs = Pairs(told).Where(pair => pair.Item1 == "adapters").Select(pair => pair.Item2).ToList();
        return new EncoderOptions
        {
            Adapter = Pairs(told).Where(pair => pair.Item1 == "adapter").Select(pair => pair.Item2).FirstOrDefault(),
            Adapters = specs.Count == 0 ? null : specs,
        };
    }

    private static List<byte[]> Answers(params Answer[] given)
    {
        return given.SelectMany(answer => new[]
        {
            Bytes(answer.Text),
            Bytes(Joined(answer.TokenIds)),
            Bytes(answer.FinishReason),
            Bytes(answer.PromptTokens.ToString()),
            Bytes(string.Join(" ", answer.Scores.Select(score => score.ToString("R", CultureInfo.InvariantCulture)))),
        }).ToList();
    }

    private static Options Options(string told)
    {
        var found = new Options();
        var lists = new Dictionary<string, List<string>>
        {
            { "adapters", new List<string>() }, { "stop", new List<string>() }, { "choices", new List<string>() },
        };
        foreach (var pair in Pairs(told))
        {
            var (name, value) = pair;
            switch (name)
            {
                case "adapter": found.Adapter = value; break;
                case "max_new_tokens": found.MaxNewTokens = int.Parse(value); break;
                case "temperature": found.Temperature = Real(value); break;
                case "top_k": found.TopK = int.Parse(value); break;
                case "top_p": found.TopP = Real(value); break;
                case "min_p": found.MinP = Real(value); break;
                case "repetition_penalty": found.RepetitionPenalty = Real(value); break;
                case "seed": found.Seed = ulong.Parse(value); break;
                case "raw": found.Raw = value == "1"; break;
                default: lists[name].Add(value); break;
            }
        }
        Func<string, List<string>> Given = name => lists[name].Count == 0 ? null : lists[name];
        found.Adapters = Given("adapters");
        found.Stop = Given("stop");
        found.Choices = Given("choices");
        return found;
    }

    private static Conversation Conversation(string told)
    {
        var found = new Conversation();
        foreach (var pair in Pairs(told))
        {
            var (name, value) = pair;
            switch (name)
            {
                case "messages": found.MessagesJson = value; break;
                case "tools": found.ToolsJson = value; break;
                case "template": found.TemplateJson = value; break;
                case "date": found.Date = value; break;
                case "no_generation_prompt": found.NoGenerationPrompt = value == "1"; break;
                default: throw new ArgumentException(name + " belongs to no conversation");
            }
        }
        return found;
    }

    private static IEnumerable<(string, string)> Pairs(string told)
    {
        foreach (var pair in told.Split('\u001e').Where(pair => pair != ""))
        {
            var at = pair.IndexOf('=');
            yield return (pair.Substring(0, at), pair.Substring(at + 1));
        }
    }

    private static double Real(string value)
    {
        return double.Parse(value, CultureInfo.InvariantCulture);
    }

    private static int[] Ints(string text)
    {
        return text.Split(' ').Where(item => item != "").Select(int.Parse).ToArray();
    }

    private static float[] Floats(byte[] bytes)
    {
        var found = new float[bytes.Length / 4];
        Buffer.BlockCopy(bytes, 0, found, 0, bytes.Length);
        return found;
    }

    private static string Joined<T>(IEnumerable<T> values)
    {
        return string.Join(" ", values);
    }

    private static byte[] Bytes(string text)
    {
        return Utf8.GetBytes(text);
    }

    private static List<byte[]> One(string text)
    {
        return new List<byte[]> { Bytes(text) };
    }

    private static List<byte[]> Read(BinaryReader input)
    {
        var first = input.ReadBytes(4);
        if (first.Length < 4)
        {
            return null;
        }
        return Enumerable.Range(0, BitConverter.ToInt32(first, 0)).Select(_ => input.ReadBytes(input.ReadInt32())).ToList();
    }
}
