using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;

namespace EdgeLora
{
    /// <summary>How an artifact is opened; edgelora_load_options of edgelora.h.</summary>
    public sealed class LoadOptions
    {
        /// <summary>For one matrix product; 0: the physical cores of the process, at most four.</summary>
        public int Threads { get; set; }

        /// <summary>Path of the onnxruntime library; null: the one that the process or the system has.</summary>
        public string Onnxruntime { get; set; }

        /// <summary>A folder where the graph is kept as onnxruntime packed it; null: none.</summary>
        public string Cache { get; set; }

        /// <summary>Path of libedgelora_ops; "" leaves its operators; null: the one beside the library.</summary>
        public string Operators { get; set; }

        /// <summary>Memory for adapters; 0: no bound.</summary>
        public long AdapterBytes { get; set; }

        /// <summary>Check every byte of every file.</summary>
        public bool Hashes { get; set; }

        /// <summary>Hold every adapter to its receipt.</summary>
        public bool Probe { get; set; }

        /// <summary>Keep the graph without slots beside the one with slots.</summary>
        public bool Twin { get; set; }

        internal Native.LoadOptions Lower(Text kept)
        {
            Native.edgelora_load_options_init(out var found, (UIntPtr)Marshal.SizeOf(typeof(Native.LoadOptions)));
            found.Threads = Threads;
            found.Onnxruntime = kept.Keep(Onnxruntime);
            found.Cache = kept.Keep(Cache);
            found.Operators = kept.Keep(Operators);
            found.AdapterBytes = AdapterBytes;
            found.Hashes = Hashes ? 1 : 0;
            found.Probe = Probe ? 1 : 0;
            found.Twin = Twin ? 1 : 0;
            return found;
        }
    }

    /// <summary>How an answer is made; edgelora_generate_options of edgelora.h.</summary>
    public sealed class Options
    {
        /// <summary>SPEC for every row: "none", "NAME", "NAME:0.5", "A:0.7+B:0.3"; null: the one that is set.</summary>
        public string Adapter { get; set; }

        /// <summary>One SPEC for each row of a batch, instead of Adapter.</summary>
        public IReadOnlyList<string> Adapters { get; set; }

        public int MaxNewTokens { get; set; } = 128;

        /// <summary>0 takes the likeliest token.</summary>
        public double Temperature { get; set; }

        public int TopK { get; set; }

        public double TopP { get; set; } = 1;

        public double MinP { get; set; }

        public double RepetitionPenalty { get; set; } = 1;

        /// <summary>The same seed gives the same answer on every device; null: from chance.</summary>
        public ulong? Seed { get; set; }

        /// <summary>Texts that end the answer before them.</summary>
        public IReadOnlyList<string> Stop { get; set; }

        /// <summary>Texts one of which is the answer: the likeliest.</summary>
        public IReadOnlyList<string> Choices { get; set; }

        /// <summary>Continue the text as it is, without the chat template.</summary>
        public bool Raw { get; set; }

        /// <summary>A JSON object of variables for the chat template.</summary>
        public string TemplateJson { get; set; }

        /// <summary>A JSON list of the schemas of functions.</summary>
        public string ToolsJson { get; set; }

        /// <summary>YYYY-MM-DD, the day that a template writes; null: today.</summary>
        public string Date { get; set; }

        /// <summary>Ends the call from another thread.</summary>
        public Cancel Cancel { get; set; }

        /// <summary>Without the flag and the listener, which the call holds.</summary>
        internal Native.GenerateOptions Lower(Text kept)
        {
            var size = (UIntPtr)Marshal.SizeOf(typeof(Native.GenerateOptions));
            Native.edgelora_generate_options_init(out var found, size);
            found.MaxNewTokens = MaxNewTokens;
            found.Temperature = Temperature;
            found.TopP = TopP;
            found.MinP = MinP;
            found.RepetitionPenalty = RepetitionPenalty;
            found.TopK = TopK;
            found.HasSeed = Seed.HasValue ? 1 : 0;
            found.Seed = Seed ?? 0;
            found.Adapter = kept.Keep(Adapter);
            found.AdaptersJson = kept.Keep(Adapters);
            found.StopJson = kept.Keep(Stop);
            found.ChoicesJson = kept.Keep(Choices);
            found.TemplateJson = kept.Keep(TemplateJson);
            found.ToolsJson = kept.Keep(ToolsJson);
            found.Date = kept.Keep(Date);
            found.Raw = Raw ? 1 : 0;
            return found;
        }
    }

    /// <summary>A conversation for the chat template.</summary>
    public sealed class Conversation
    {
        /// <summary>A JSON list of messages.</summary>
        public string MessagesJson { get; set; } = "[]";

        public string ToolsJson { get; set; }

        public string TemplateJson { get; set; }

        public string Date { get; set; }

        /// <summary>Leave out what opens the model's answer.</summary>
        public bool NoGenerationPrompt { get; set; }

        internal Native.Conversation Lower(Text kept)
        {
            return new Native.Conversation
            {
                StructSize = (uint)Marshal.SizeOf(typeof(Native.Conversation)),
                NoGenerationPrompt = NoGenerationPrompt ? 1 : 0,
                MessagesJson = kept.Keep(MessagesJson),
                ToolsJson = kept.Keep(ToolsJson),
                TemplateJson = kept.Keep(TemplateJson),
                Date = kept.Keep(Date),
            };
        }
    }

    /// <summary>A flag that ends calls from another thread; one may serve any number of calls.</summary>
    public sealed class Cancel : IDisposable
    {
        internal readonly CancelHandle Handle = Native.edgelora_cancel_create();

        /// <summary>Calls that have the flag end soon, and later ones at once, until it is reset.</summary>
        public void Set()
        {
            Native.edgelora_cancel_set(Handle);
        }

        public void Reset()
        {
            Native.edgelora_cancel_reset(Handle);
        }

        public void Dispose()
        {
            Handle.Dispose();
        }
    }
}
