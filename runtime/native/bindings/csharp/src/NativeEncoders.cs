using System;
using System.Runtime.InteropServices;

namespace EdgeLora
{
    /// <summary>The part of edgelora.h for classifiers, taggers and embedders.</summary>
    internal static class NativeEncoders
    {
        private const string Library = "edgelora";
        private const CallingConvention C = CallingConvention.Cdecl;

        [DllImport(Library, CallingConvention = C)]
        internal static extern void edgelora_encoder_options_init(out Native.EncoderOptions options, UIntPtr structSize);

        [DllImport(Library, CallingConvention = C)]
        internal static extern int edgelora_load_adapter_with_labels(
            ModelHandle model, byte[] name, byte[] folder, byte[] labels, int trust, out IntPtr error);

        [DllImport(Library, CallingConvention = C)]
        internal static extern int edgelora_labels(
            ModelHandle model, byte[] spec, out IntPtr text, out UIntPtr nBytes, out IntPtr error);

        [DllImport(Library, CallingConvention = C)]
        internal static extern int edgelora_classify(
            ModelHandle model, byte[] texts, ref Native.EncoderOptions options, out IntPtr text, out UIntPtr nBytes,
            out IntPtr error);

        [DllImport(Library, CallingConvention = C)]
        internal static extern int edgelora_classify_pixels(
            ModelHandle model, float[] pixels, UIntPtr nPixels, ref Native.EncoderOptions options, out IntPtr text,
            out UIntPtr nBytes, out IntPtr error);

        [DllImport(Library, CallingConvention = C)]
        internal static extern int edgelora_classify_each(
            ModelHandle model, byte[] asked, UIntPtr nAsked, ref Native.EncoderOptions options, out IntPtr text,
            out UIntPtr nBytes, out IntPtr error);

        [DllImport(Library, CallingConvention = C)]
        internal static extern int edgelora_classify_each_pixels(
            ModelHandle model, float[] pixels, UIntPtr nPixels, ref Native.EncoderOptions options, out IntPtr text,
            out UIntPtr nBytes, out IntPtr error);

        [DllImport(Library, CallingConvention = C)]
        internal static extern int edgelora_tag(
            ModelHandle model, byte[] texts, ref Native.EncoderOptions options, out IntPtr text, out UIntPtr nBytes,
            out IntPtr error);

        [DllImport(Library, CallingConvention = C)]
        internal static extern int edgelora_embed(
            ModelHandle model, byte[] texts, ref Native.EncoderOptions options, out IntPtr vectors, out UIntPtr nFloats,
            [Out] int[] truncated, UIntPtr nTruncated, out IntPtr error);

        [DllImport(Library, CallingConvention = C)]
        internal static extern int edgelora_outputs(
            ModelHandle model, int[] ids, UIntPtr[] lengths, UIntPtr nRows, ref Native.EncoderOptions options,
            out IntPtr outputs, out UIntPtr nFloats, [Out] UIntPtr[] nOfRow, out IntPtr error);

        [DllImport(Library, CallingConvention = C)]
        internal static extern int edgelora_outputs_of_pixels(
            ModelHandle model, float[] pixels, UIntPtr nPixels, ref Native.EncoderOptions options, out IntPtr outputs,
            out UIntPtr nFloats, [Out] UIntPtr[] nOfRow, UIntPtr nRows, out IntPtr error);
    }
}
