using System;
using System.Runtime.InteropServices;

namespace EdgeLora
{
    /// <summary>edgelora.h, declaration by declaration; the header says what each does and who owns what.</summary>
    internal static class Native
    {
        private const string Library = "edgelora";

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        internal delegate int OnText(IntPtr userData, UIntPtr row, IntPtr text, UIntPtr nBytes);

        [StructLayout(LayoutKind.Sequential)]
        internal struct LoadOptions
        {
            internal uint StructSize;
            internal int Threads;
            internal IntPtr Onnxruntime;
            internal IntPtr Cache;
            internal IntPtr Operators;
            internal long AdapterBytes;
            internal int Hashes;
            internal int Probe;
            internal int Twin;
            internal int Reserved;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct GenerateOptions
        {
            internal uint StructSize;
            internal int MaxNewTokens;
            internal double Temperature;
            internal double TopP;
            internal double MinP;
            internal double RepetitionPenalty;
            internal int TopK;
            internal int HasSeed;
            internal ulong Seed;
            internal IntPtr Adapter;
            internal IntPtr AdaptersJson;
            internal IntPtr StopJson;
            internal IntPtr ChoicesJson;
            internal IntPtr TemplateJson;
            internal IntPtr ToolsJson;
            internal IntPtr Date;
            internal int Raw;
            internal int Reserved;
            internal IntPtr Cancel;
            internal IntPtr OnText;
            internal IntPtr OnToken;
            internal IntPtr UserData;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct EncoderOptions
        {
            internal uint StructSize;
            internal int Reserved;
            internal IntPtr Adapter;
            internal IntPtr AdaptersJson;
            internal IntPtr Cancel;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Conversation
        {
            internal uint StructSize;
            internal int NoGenerationPrompt;
            internal IntPtr MessagesJson;
            internal IntPtr ToolsJson;
            internal IntPtr TemplateJson;
            internal IntPtr Date;
        }

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr edgelora_version();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr edgelora_error_message(IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void edgelora_error_free(IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void edgelora_free(IntPtr memory);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern CancelHandle edgelora_cancel_create();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void edgelora_cancel_free(IntPtr cancel);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void edgelora_cancel_set(CancelHandle cancel);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void edgelora_cancel_reset(CancelHandle cancel);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void edgelora_load_options_init(out LoadOptions options, UIntPtr size);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_load(
            byte[] path, ref LoadOptions options, out ModelHandle model, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void edgelora_model_free(IntPtr model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_vocab_size(ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_context_length(ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_model_info(
            ModelHandle model, out IntPtr json, out UIntPtr nBytes, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_set_adapter(ModelHandle model, byte[] spec, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_load_adapter(
            ModelHandle model, byte[] name, byte[] folder, int trust, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_unload_adapter(ModelHandle model, byte[] name, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_probe(
            ModelHandle model, byte[] name, out IntPtr json, out UIntPtr nBytes, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void edgelora_generate_options_init(out GenerateOptions options, UIntPtr size);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_generate(
            ModelHandle model, byte[] prompt, UIntPtr nBytes, ref GenerateOptions options,
            out GenerationHandle generation, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_chat(
            ModelHandle model, byte[] messagesJson, ref GenerateOptions options, out GenerationHandle generation,
            out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_generate_batch(
            ModelHandle model, byte[] promptsJson, ref GenerateOptions options, out GenerationHandle generation,
            out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_generate_ids(
            ModelHandle model, int[] ids, UIntPtr[] lengths, UIntPtr nRows, ref GenerateOptions options,
            out GenerationHandle generation, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_logits(
            ModelHandle model, int[] ids, UIntPtr nIds, byte[] adapter, UIntPtr[] positions, UIntPtr nPositions,
            IntPtr cancel, [Out] float[] logits, UIntPtr nLogits, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern UIntPtr edgelora_generation_rows(GenerationHandle generation);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr edgelora_generation_text(
            GenerationHandle generation, UIntPtr row, out UIntPtr nBytes);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr edgelora_generation_ids(
            GenerationHandle generation, UIntPtr row, out UIntPtr nIds);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr edgelora_generation_finish_reason(GenerationHandle generation, UIntPtr row);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern UIntPtr edgelora_generation_prompt_tokens(GenerationHandle generation, UIntPtr row);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr edgelora_generation_scores(
            GenerationHandle generation, UIntPtr row, out UIntPtr nScores);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void edgelora_generation_free(IntPtr generation);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_encode(
            ModelHandle model, byte[] text, UIntPtr nBytes, int special, out IntPtr ids, out UIntPtr nIds,
            out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_decode(
            ModelHandle model, int[] ids, UIntPtr nIds, int special, out IntPtr text, out UIntPtr nBytes,
            out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_render(
            ModelHandle model, ref Conversation conversation, out IntPtr text, out UIntPtr nBytes,
            out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_render_template(
            byte[] source, UIntPtr nSource, ref Conversation conversation, out IntPtr text, out UIntPtr nBytes,
            out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_encode_after(
            ModelHandle model, byte[] prompt, UIntPtr nPrompt, byte[] text, UIntPtr nBytes, int special,
            out IntPtr ids, out UIntPtr nIds, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_encode_answer(
            ModelHandle model, ref Conversation conversation, byte[] answer, UIntPtr nBytes, out IntPtr ids,
            out UIntPtr nIds, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_check_file(byte[] kind, byte[] bytes, UIntPtr nBytes, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_match_module(
            byte[] field, byte[] pattern, byte[] module, out int matches, out IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void edgelora_random(ulong seed, ulong stream, [Out] uint[] numbers, UIntPtr nNumbers);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int edgelora_sample(
            float[] logits, UIntPtr nSteps, UIntPtr nLogits, int[] promptIds, UIntPtr nPromptIds, UIntPtr row,
            ref GenerateOptions options, [Out] int[] ids, out IntPtr error);
    }
}
