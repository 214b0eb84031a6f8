using System;
using System.Linq;
using System.Threading;
using EdgeLora;

/// <summary>What the binding adds to the C interface: exceptions of listeners, handles, texts. Given an artifact.</summary>
internal static class Handling
{
    private static readonly Options Short = new Options { MaxNewTokens = 16 };

    private static void Main(string[] arguments)
    {
        var model = Model.Load(arguments[0]);
        var whole = model.Generate("Zürich 🚀", Short);
        Check(whole.TokenIds.Length == 16 && whole.FinishReason == "length", whole.FinishReason);

        var thrown = new ArgumentException("of the listener");
        var calls = 0;
        var found = Refused<ArgumentException>(() => model.GenerateBatch(new[] { "one", "two", "three" }, Short, (row, piece) =>
        {
            calls++;
            throw thrown;
        }));
        Check(found == thrown && calls == 1, found + " after " + calls + " calls");
        Check(model.Generate("Zürich 🚀", Short).Text == whole.Text, "the model answers as before");

        var pieces = 0;
        var ended = model.Generate("Zürich 🚀", Short, (row, piece) => pieces++ > 0);
        Check(ended.FinishReason == "cancelled" && pieces == 1, ended.FinishReason + " after " + pieces);

        var chatted = "";
        var answer = model.Chat("[{\"role\": \"user\", \"content\": \"Hello\"}]", Short, (row, piece) =>
        {
            chatted += piece;
            GC.Collect();
            return true;
        });
        Check(answer.Text == chatted, answer.Text + " was streamed as " + chatted);

        Refuses(Code.InvalidInput, () => model.Generate("half a pair: \ud83d", Short));
        Refuses(Code.Adapter, () => model.Generate("Hello", new Options { Adapter = "nobody" }));
        Refuses(Code.InvalidInput, () => model.Generate("Hello", new Options { Adapter = "zero\0byte" }));
        Refuses(Code.Artifact, () => Model.Load(arguments[0] + "/nowhere"));
        Refused<ArgumentNullException>(() => model.SetAdapter(null));
        Refuses(Code.InvalidInput, () => model.Generate("Hello", Short, (row, piece) => model.Generate("in").Text == ""));

        var one = model.Generate("Hello", new Options { MaxNewTokens = 16, Adapter = "one" }).Text;
        model.LoadAdapter("again", arguments[0] + "/adapters/one", true);
        model.SetAdapter("again");
        Check(model.Generate("Hello", Short).Text == one, "the same adapter by another name");
        Check(model.Probe("again") == "null" || model.Probe("again").StartsWith("{"), model.Probe("again"));
        Refuses(Code.Adapter, () => model.UnloadAdapter("again"));
        model.SetAdapter("none");
        Check(model.Info().Contains("\"again\""), model.Info());
        model.UnloadAdapter("again");
        Check(!model.Info().Contains("\"again\""), model.Info());

        var cancel = new Cancel();
        var cancelled = new Options { Cancel = cancel };
        Refuses(Code.Cancelled, () => model.Generate("Hello", cancelled, (row, piece) =>
        {
            cancel.Set();
            return true;
        }));
        Refuses(Code.Cancelled, () => model.GenerateIds(new[] { new[] { 1, 2 } }, cancelled));
        cancel.Reset();
        Check(model.Generate("Hello", cancelled).Text != "", "reset");
        cancel.Dispose();
        cancel.Dispose();
        Refused<ObjectDisposedException>(() => model.Generate("Hello", cancelled));

        var answers = new string[4];
        var threads = Enumerable.Range(0, answers.Length)
            .Select(index => new Thread(() => answers[index] = model.Generate("Zürich 🚀", Short).Text)).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        Check(answers.All(text => text == whole.Text), string.Join("|", answers));

        // Disposed of by a listener of its own, the model goes when the call has returned.
        var last = model.Generate("Zürich 🚀", Short, (row, piece) =>
        {
            model.Dispose();
            return true;
        });
        Check(last.Text == whole.Text, last.Text);
        Refused<ObjectDisposedException>(() => model.Info());
        Console.WriteLine("handled");
    }

    private static void Check(bool holds, string found)
    {
        if (!holds)
        {
            throw new InvalidOperationException(found);
        }
    }

    private static void Refuses(Code expected, Action call)
    {
        var found = Refused<EdgeLoraException>(call);
        Check(found.Code == expected, found.Code + ": " + found.Message);
    }

    private static T Refused<T>(Action call) where T : Exception
    {
        try
        {
            call();
        }
        catch (T found)
        {
            return found;
        }
        throw new InvalidOperationException("expected " + typeof(T));
    }
}
