using System;
using System.Runtime.InteropServices;

namespace EdgeLora
{
    /// <summary>Something of native code, freed once, when no call uses it any more.</summary>
    internal abstract class Handle : SafeHandle
    {
        protected Handle() : base(IntPtr.Zero, true)
        {
        }

        public override bool IsInvalid => handle == IntPtr.Zero;
    }

    internal sealed class ModelHandle : Handle
    {
        protected override bool ReleaseHandle()
        {
            Native.edgelora_model_free(handle);
            return true;
        }
    }

    internal sealed class GenerationHandle : Handle
    {
        protected override bool ReleaseHandle()
        {
            Native.edgelora_generation_free(handle);
            return true;
        }
    }

    internal sealed class CancelHandle : Handle
    {
        protected override bool ReleaseHandle()
        {
            Native.edgelora_cancel_free(handle);
            return true;
        }
    }
}
