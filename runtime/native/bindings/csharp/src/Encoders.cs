using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;

namespace EdgeLora
{
    /// <summary>Which adapters answer; edgelora_encoder_options of edgelora.h.</summary>
    public sealed class EncoderOptions
    {
        /// <summary>SPEC for every text; null: the one that is set.</summary>
        public string Adapter { get; set; }

        /// <summary>One SPEC for each text, instead of Adapter.</summary>
        public IReadOnlyList<string> Adapters { get; set; }

        /// <summary>Ends the call from another thread.</summary>
        public Cancel Cancel { get; set; }

        /// <summary>Without the flag, which the call holds.</summary>
        internal Native.EncoderOptions Lower(Text kept)
        {
            var size = (UIntPtr)Marshal.SizeOf(typeof(Native.EncoderOptions));
            NativeEncoders.edgelora_encoder_options_init(out var found, size);
            found.Adapter = kept.Keep(Adapter);
            found.AdaptersJson = kept.Keep(Adapters);
            return found;
        }
    }

    /// <summary>A vector for each text, and which texts were longer than the model reads and lost their end.</summary>
    public sealed class Embeddings
    {
        public float[][] Vectors { get; internal set; }

        public bool[] Truncated { get; internal set; }
    }

    /// <summary>For artifacts of classifiers, taggers and embedders; edgelora.h says what the JSON holds.</summary>
    public sealed partial class Model
    {
        private delegate int AskEncoded(
            ref Native.EncoderOptions options, out IntPtr given, out UIntPtr count, out IntPtr error);

        /// <summary>Make a PEFT folder known, with the labels of its head where no receipt has them.</summary>
        public void LoadAdapter(string name, string folder, IEnumerable<string> labels, bool trust = false)
        {
            var told = Given(Text.Json(labels));
            var status = NativeEncoders.edgelora_load_adapter_with_labels(
                handle, Given(name), Given(folder), told, trust ? 1 : 0, out var error);
            EdgeLoraException.Check(status, error);
        }

        /// <summary>What the head of a SPEC, or of the one that is set, answers with: JSON, or "null".</summary>
        public string Labels(string spec = null)
        {
            var told = Text.Ended(spec);
            return TakeText((out IntPtr text, out UIntPtr nBytes, out IntPtr error) =>
                NativeEncoders.edgelora_labels(handle, told, out text, out nBytes, out error));
        }

        /// <summary>Classify texts; a JSON list of answers.</summary>
        public string Classify(IEnumerable<string> texts, EncoderOptions options = null)
        {
            var told = Given(Text.Json(texts));
            return Encoded(options, (ref Native.EncoderOptions lowered, out IntPtr text, out UIntPtr n, out IntPtr error) =>
                NativeEncoders.edgelora_classify(handle, told, ref lowered, out text, out n, out error), Text.Take);
        }

        /// <summary>Classify images, one after the other in `pixels`, prepared as the model's processor does.</summary>
        public string ClassifyPixels(float[] pixels, EncoderOptions options = null)
        {
            return Encoded(options, (ref Native.EncoderOptions lowered, out IntPtr text, out UIntPtr n, out IntPtr error) =>
                NativeEncoders.edgelora_classify_pixels(
                    handle, pixels, (UIntPtr)pixels.Length, ref lowered, out text, out n, out error), Text.Take);
        }

        /// <summary>What each of EncoderOptions.Adapters says of one text, by SPEC; without them every adapter.</summary>
        public string ClassifyEach(string asked, EncoderOptions options = null)
        {
            var bytes = Text.Bytes(asked);
            return Encoded(options, (ref Native.EncoderOptions lowered, out IntPtr text, out UIntPtr n, out IntPtr error) =>
                NativeEncoders.edgelora_classify_each(
                    handle, bytes, (UIntPtr)bytes.Length, ref lowered, out text, out n, out error), Text.Take);
        }

        /// <summary>The same of one image.</summary>
        public string ClassifyEachPixels(float[] pixels, EncoderOptions options = null)
        {
            return Encoded(options, (ref Native.EncoderOptions lowered, out IntPtr text, out UIntPtr n, out IntPtr error) =>
                NativeEncoders.edgelora_classify_each_pixels(
                    handle, pixels, (UIntPtr)pixels.Length, ref lowered, out text, out n, out error), Text.Take);
        }

        /// <summary>Tag texts; a JSON list of answers.</summary>
        public string Tag(IEnumerable<string> texts, EncoderOptions options = null)
        {
            var told = Given(Text.Json(texts));
            return Encoded(options, (ref Native.EncoderOptions lowered, out IntPtr text, out UIntPtr n, out IntPtr error) =>
                NativeEncoders.edgelora_tag(handle, told, ref lowered, out text, out n, out error), Text.Take);
        }

        /// <summary>Vectors of texts.</summary>
        public Embeddings Embed(IReadOnlyList<string> texts, EncoderOptions options = null)
        {
            var told = Given(Text.Json(texts));
            var cut = new int[texts.Count];
            var flat = Encoded(options, (ref Native.EncoderOptions lowered, out IntPtr given, out UIntPtr n, out IntPtr error) =>
                NativeEncoders.edgelora_embed(
                    handle, told, ref lowered, out given, out n, cut, (UIntPtr)cut.Length, out error), Text.TakeFloats);
            var sizes = Enumerable.Repeat((UIntPtr)(flat.Length / cut.Length), cut.Length).ToArray();
            return new Embeddings { Vectors = Split(flat, sizes), Truncated = cut.Select(item => item != 0).ToArray() };
        }

        /// <summary>What the graph gives for rows of token ids, special tokens included.</summary>
        public float[][] Outputs(IReadOnlyList<int[]> rows, EncoderOptions options = null)
        {
            var flat = rows.SelectMany(row => row).ToArray();
            var lengths = rows.Select(row => (UIntPtr)row.Length).ToArray();
            var counts = new UIntPtr[lengths.Length];
            var found = Encoded(options, (ref Native.EncoderOptions lowered, out IntPtr given, out UIntPtr n, out IntPtr error) =>
                NativeEncoders.edgelora_outputs(
                    handle, flat, lengths, (UIntPtr)lengths.Length, ref lowered, out given, out n, counts, out error),
                Text.TakeFloats);
            return Split(found, counts);
        }

        /// <summary>The same for `count` images, as ClassifyPixels takes them.</summary>
        public float[][] OutputsOfPixels(float[] pixels, int count, EncoderOptions options = null)
        {
            var counts = new UIntPtr[count];
            var found = Encoded(options, (ref Native.EncoderOptions lowered, out IntPtr given, out UIntPtr n, out IntPtr error) =>
                NativeEncoders.edgelora_outputs_of_pixels(
                    handle, pixels, (UIntPtr)pixels.Length, ref lowered, out given, out n, counts, (UIntPtr)count,
                    out error), Text.TakeFloats);
            return Split(found, counts);
        }

        private static T Encoded<T>(EncoderOptions options, AskEncoded ask, Func<IntPtr, UIntPtr, T> take)
        {
            options = options ?? new EncoderOptions();
            var cancel = options.Cancel?.Handle;
            var held = false;
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
                    EdgeLoraException.Check(ask(ref lowered, out var given, out var count, out var error), error);
                    return take(given, count);
                }
            }
            finally
            {
                if (held)
                {
                    cancel.DangerousRelease();
                }
            }
        }

        private static float[][] Split(float[] flat, UIntPtr[] counts)
        {
            var at = 0;
            return Array.ConvertAll(counts, count =>
            {
                var row = new float[checked((int)count)];
                Array.Copy(flat, at, row, 0, row.Length);
                at += row.Length;
                return row;
            });
        }
    }
}
