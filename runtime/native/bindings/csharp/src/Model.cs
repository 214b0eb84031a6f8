using System;
using System.Collections.Generic;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace EdgeLora
{
    /// <summary>
    /// A loaded artifact, for any number of threads: it answers one call at a time, and the others wait. What cannot be
    /// used is refused with an EdgeLoraException.
    /// </summary>
    public sealed partial class Model : IDisposable
    {
        private static readonly Native.OnText Piece = TakePiece;
        private static readonly IntPtr PiecePointer = Marshal.GetFunctionPointerForDelegate(Piece);

        private readonly ModelHandle handle;

        private delegate int Ask(ref Native.GenerateOptions options, out GenerationHandle found, out IntPtr error);

        private delegate int AskText(out IntPtr text, out UIntPtr nBytes, out IntPtr error);

        private delegate int AskIds(out IntPtr ids, out UIntPtr nIds, out IntPtr error);

        private Model(ModelHandle handle)
        {
            this.handle = handle;
            VocabSize = Native.edgelora_vocab_size(handle);
            ContextLength = Native.edgelora_context_length(handle);
        }

        /// <summary>Token ids go from 0 to this - 1.</summary>
        public int VocabSize { get; }

        /// <summary>Tokens that a row holds at most.</summary>
        public int ContextLength { get; }

        /// <summary>Open the artifact in the folder `path`.</summary>
        public static Model Load(string path, LoadOptions options = null)
        {
            using (var kept = new Text())
            {
                var lowered = (options ?? new LoadOptions()).Lower(kept);
                var status = Native.edgelora_load(Given(path), ref lowered, out var model, out var error);
                EdgeLoraException.Check(status, error);
                return new Model(model);
            }
        }

        /// <summary>Let go of everything, when no call uses the model any more. Answers live on.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }

        /// <summary>What is loaded, as a JSON object.</summary>
        public string Info()
        {
            return TakeText((out IntPtr text, out UIntPtr nBytes, out IntPtr error) =>
                Native.edgelora_model_info(handle, out text, out nBytes, out error));
        }

        /// <summary>Use `spec` where a call gives none.</summary>
        public void SetAdapter(string spec)
        {
            EdgeLoraException.Check(Native.edgelora_set_adapter(handle, Given(spec), out var error), error);
        }

        /// <summary>Make a PEFT folder known as `name`; `trust` leaves its receipt unread.</summary>
        public void LoadAdapter(string name, string folder, bool trust = false)
        {
            var status = Native.edgelora_load_adapter(handle, Given(name), Given(folder), trust ? 1 : 0, out var error);
            EdgeLoraException.Check(status, error);
        }

        /// <summary>Forget an adapter and give its memory back.</summary>
        public void UnloadAdapter(string name)
        {
            EdgeLoraException.Check(Native.edgelora_unload_adapter(handle, Given(name), out var error), error);
        }

        /// <summary>Hold an adapter to its receipt; a JSON object of what was found, or "null".</summary>
        public string Probe(string name)
        {
            return TakeText((out IntPtr text, out UIntPtr nBytes, out IntPtr error) =>
                Native.edgelora_probe(handle, Given(name), out text, out nBytes, out error));
        }

        /// <summary>
        /// Answer a prompt. `take` gets each piece with the number of its row; false ends that row. What it throws ends
        /// every row and comes out of the call. It must not ask this model.
        /// </summary>
        public Answer Generate(string prompt, Options options = null, Func<int, string, bool> take = null)
        {
            var bytes = Text.Bytes(prompt);
            return Answers(options, take, (ref Native.GenerateOptions lowered, out GenerationHandle found, out IntPtr error) =>
                Native.edgelora_generate(handle, bytes, (UIntPtr)bytes.Length, ref lowered, out found, out error))[0];
        }

        /// <summary>Answer a conversation, a JSON list of messages.</summary>
        public Answer Chat(string messagesJson, Options options = null, Func<int, string, bool> take = null)
        {
            var messages = Given(messagesJson);
            return Answers(options, take, (ref Native.GenerateOptions lowered, out GenerationHandle found, out IntPtr error) =>
                Native.edgelora_chat(handle, messages, ref lowered, out found, out error))[0];
        }

        /// <summary>Answer several prompts together, each with its own adapter where Options.Adapters says so.</summary>
        public Answer[] GenerateBatch(
            IEnumerable<string> prompts, Options options = null, Func<int, string, bool> take = null)
        {
            var told = Given(Text.Json(prompts));
            return Answers(options, take, (ref Native.GenerateOptions lowered, out GenerationHandle found, out IntPtr error) =>
                Native.edgelora_generate_batch(handle, told, ref lowered, out found, out error));
        }

        /// <summary>Continue rows of token ids.</summary>
        public Answer[] GenerateIds(IReadOnlyList<int[]> rows, Options options = null)
        {
            var ids = new List<int>();
            var lengths = new UIntPtr[rows.Count];
            for (var row = 0; row < rows.Count; row++)
            {
                ids.AddRange(rows[row]);
                lengths[row] = (UIntPtr)rows[row].Length;
            }
            var flat = ids.ToArray();
            return Answers(options, null, (ref Native.GenerateOptions lowered, out GenerationHandle found, out IntPtr error) =>
                Native.edgelora_generate_ids(
                    handle, flat, lengths, (UIntPtr)lengths.Length, ref lowered, out found, out error));
        }

        /// <summary>Logits after the tokens at `positions`, one row of the vocabulary's size for each.</summary>
        public float[][] Logits(int[] ids, string adapter, params int[] positions)
        {
            var places = Array.ConvertAll(positions, position => (UIntPtr)checked((uint)position));
            var flat = new float[checked(positions.Length * VocabSize)];
            var status = Native.edgelora_logits(
                handle, ids, (UIntPtr)ids.Length, Text.Ended(adapter), places, (UIntPtr)places.Length, IntPtr.Zero, flat,
                (UIntPtr)flat.Length, out var error);
            EdgeLoraException.Check(status, error);
            var rows = new float[positions.Length][];
            for (var row = 0; row < rows.Length; row++)
            {
                rows[row] = new float[VocabSize];
                Array.Copy(flat, row * VocabSize, rows[row], 0, VocabSize);
            }
            return rows;
        }

        /// <summary>Token ids of a text; `special` adds the tokenizer's own special tokens.</summary>
        public int[] Encode(string text, bool special = false)
        {
            var bytes = Text.Bytes(text);
            return TakeIds((out IntPtr ids, out UIntPtr nIds, out IntPtr error) => Native.edgelora_encode(
                handle, bytes, (UIntPtr)bytes.Length, special ? 1 : 0, out ids, out nIds, out error));
        }

        /// <summary>The text of token ids; `special` writes special tokens too.</summary>
        public string Decode(int[] ids, bool special = false)
        {
            return TakeText((out IntPtr text, out UIntPtr nBytes, out IntPtr error) => Native.edgelora_decode(
                handle, ids, (UIntPtr)ids.Length, special ? 1 : 0, out text, out nBytes, out error));
        }

        /// <summary>The text of a conversation, to be encoded without special tokens.</summary>
        public string Render(Conversation conversation)
        {
            using (var kept = new Text())
            {
                var told = conversation.Lower(kept);
                return TakeText((out IntPtr text, out UIntPtr nBytes, out IntPtr error) =>
                    Native.edgelora_render(handle, ref told, out text, out nBytes, out error));
            }
        }

        /// <summary>Token ids of `text` where it stands behind the raw text `prompt`.</summary>
        public int[] EncodeAfter(string prompt, string text, bool special = false)
        {
            var (before, bytes) = (Text.Bytes(prompt), Text.Bytes(text));
            return TakeIds((out IntPtr ids, out UIntPtr nIds, out IntPtr error) => Native.edgelora_encode_after(
                handle, before, (UIntPtr)before.Length, bytes, (UIntPtr)bytes.Length, special ? 1 : 0, out ids, out nIds,
                out error));
        }

        /// <summary>Token ids of `answer` behind a conversation.</summary>
        public int[] EncodeAnswer(Conversation conversation, string answer)
        {
            using (var kept = new Text())
            {
                var (told, bytes) = (conversation.Lower(kept), Text.Bytes(answer));
                return TakeIds((out IntPtr ids, out UIntPtr nIds, out IntPtr error) => Native.edgelora_encode_answer(
                    handle, ref told, bytes, (UIntPtr)bytes.Length, out ids, out nIds, out error));
            }
        }

        /// <summary>The text of a conversation with a chat template of the caller's; needs no model.</summary>
        public static string RenderTemplate(string source, Conversation conversation)
        {
            using (var kept = new Text())
            {
                var (told, bytes) = (conversation.Lower(kept), Text.Bytes(source));
                return TakeText((out IntPtr text, out UIntPtr nBytes, out IntPtr error) => Native.edgelora_render_template(
                    bytes, (UIntPtr)bytes.Length, ref told, out text, out nBytes, out error));
            }
        }

        internal static byte[] Given(string text)
        {
            return Text.Ended(text ?? throw new ArgumentNullException(nameof(text)));
        }

        private static string TakeText(AskText ask)
        {
            EdgeLoraException.Check(ask(out var text, out var nBytes, out var error), error);
            return Text.Take(text, nBytes);
        }

        private static int[] TakeIds(AskIds ask)
        {
            EdgeLoraException.Check(ask(out var ids, out var nIds, out var error), error);
            return Text.TakeIds(ids, nIds);
        }

        private sealed class Stream
        {
            internal Func<int, string, bool> Take;
            internal Exception Thrown;
        }

        /// <summary>No exception may cross C: it is kept, ends the rows, and goes on when the call has returned.</summary>
        private static int TakePiece(IntPtr userData, UIntPtr row, IntPtr text, UIntPtr nBytes)
        {
            var stream = (Stream)GCHandle.FromIntPtr(userData).Target;
            try
            {
                return stream.Thrown == null && stream.Take((int)row, Text.Read(text, nBytes)) ? 0 : 1;
            }
            catch (Exception thrown)
            {
                stream.Thrown = thrown;
                return 1;
            }
        }

        private static Answer[] Answers(Options options, Func<int, string, bool> take, Ask ask)
        {
            options = options ?? new Options();
            var stream = new Stream { Take = take };
            var cancel = options.Cancel?.Handle;
            var held = false;
            var pinned = GCHandle.Alloc(stream);
            try
            {
                using (var kept = new Text())
                {
                    var lowered = options.Lower(kept);
                    if (cancel != null)
                    {
                        cancel.DangerousAddRef(ref held);
                        lowered.Cancel = cancel.DangerousGetHandle();
                    }
                    if (take != null)
                    {
                        lowered.OnText = PiecePointer;
                        lowered.UserData = GCHandle.ToIntPtr(pinned);
                    }
                    var status = ask(ref lowered, out var found, out var error);
                    using (found)
                    {
                        if (stream.Thrown != null)
                        {
                            Native.edgelora_error_free(error);
                            ExceptionDispatchInfo.Capture(stream.Thrown).Throw();
                        }
                        EdgeLoraException.Check(status, error);
                        return Answer.Read(found);
                    }
                }
            }
            finally
            {
                pinned.Free();
                if (held)
                {
                    cancel.DangerousRelease();
                }
            }
        }
    }
}
