using System;
using System.Collections.Generic;

namespace EdgeLora
{
    /// <summary>What needs no model: readers and arithmetic.</summary>
    public static class Library
    {
        /// <summary>The version of the library.</summary>
        public static string Version => Text.ZeroEnded(Native.edgelora_version());

        /// <summary>Hold a file to the format: a "manifest", "receipt", "adapter_config" or "safetensors" file.</summary>
        public static void CheckFile(string kind, byte[] content)
        {
            var status = Native.edgelora_check_file(Model.Given(kind), content, (UIntPtr)content.Length, out var error);
            EdgeLoraException.Check(status, error);
        }

        /// <summary>Whether PEFT's `field` ("target_modules" or "rank_pattern") with `pattern` names `module`.</summary>
        public static bool MatchModule(string field, string pattern, string module)
        {
            var status = Native.edgelora_match_module(
                Model.Given(field), Model.Given(pattern), Model.Given(module), out var matches, out var error);
            EdgeLoraException.Check(status, error);
            return matches == 1;
        }

        /// <summary>The first numbers of the generator that seeded draws use.</summary>
        public static uint[] Random(ulong seed, ulong stream, int count)
        {
            var numbers = new uint[count];
            Native.edgelora_random(seed, stream, numbers, (UIntPtr)count);
            return numbers;
        }

        /// <summary>Choose a token for each row of logits, as row `row` of a batch with this prompt would.</summary>
        public static int[] Sample(IReadOnlyList<float[]> logits, int[] promptIds, int row, Options options = null)
        {
            var width = logits.Count == 0 ? 0 : logits[0].Length;
            var flat = new float[checked(logits.Count * width)];
            for (var step = 0; step < logits.Count; step++)
            {
                if (logits[step].Length != width)
                {
                    throw EdgeLoraException.Input("rows of logits differ in length; give each the vocabulary's size");
                }
                logits[step].CopyTo(flat, step * width);
            }
            using (var kept = new Text())
            {
                var lowered = (options ?? new Options()).Lower(kept);
                var ids = new int[logits.Count];
                var status = Native.edgelora_sample(
                    flat, (UIntPtr)logits.Count, (UIntPtr)width, promptIds, (UIntPtr)promptIds.Length, (UIntPtr)row,
                    ref lowered, ids, out var error);
                EdgeLoraException.Check(status, error);
                return ids;
            }
        }
    }
}
