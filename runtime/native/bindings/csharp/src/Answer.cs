using System;
using System.Runtime.InteropServices;

namespace EdgeLora
{
    /// <summary>One answer.</summary>
    public sealed class Answer
    {
        /// <summary>Without stop strings and special tokens; empty where token ids were asked.</summary>
        public string Text { get; }

        /// <summary>Without the end token.</summary>
        public int[] TokenIds { get; }

        /// <summary>"stop", "length", "choice", or "cancelled" where a listener ended the row.</summary>
        public string FinishReason { get; }

        /// <summary>Tokens of the prompt as the model got it.</summary>
        public long PromptTokens { get; }

        /// <summary>With choices: the log-probability of each, in their order; else empty.</summary>
        public double[] Scores { get; }

        private Answer(GenerationHandle from, UIntPtr row)
        {
            Text = EdgeLora.Text.Read(Native.edgelora_generation_text(from, row, out var nBytes), nBytes);
            TokenIds = EdgeLora.Text.ReadIds(Native.edgelora_generation_ids(from, row, out var nIds), nIds);
            FinishReason = EdgeLora.Text.ZeroEnded(Native.edgelora_generation_finish_reason(from, row));
            PromptTokens = (long)Native.edgelora_generation_prompt_tokens(from, row);
            var scores = Native.edgelora_generation_scores(from, row, out var nScores);
            Scores = new double[checked((int)nScores)];
            if (Scores.Length > 0)
            {
                Marshal.Copy(scores, Scores, 0, Scores.Length);
            }
        }

        internal static Answer[] Read(GenerationHandle from)
        {
            var found = new Answer[checked((int)Native.edgelora_generation_rows(from))];
            for (var row = 0; row < found.Length; row++)
            {
                found[row] = new Answer(from, (UIntPtr)row);
            }
            return found;
        }

        public override string ToString()
        {
            return Text;
        }
    }
}
