using System;

namespace EdgeLora
{
    /// <summary>What kind of thing was wrong; the numbers are those of edgelora.h.</summary>
    public enum Code
    {
        InvalidInput = 1,
        Artifact,
        Adapter,
        Cancelled,
        Unsupported,
        Memory,
        Internal,
    }

    /// <summary>A refusal: a code, and one line of what was found, what was expected and what to do.</summary>
    public sealed class EdgeLoraException : Exception
    {
        public Code Code { get; }

        internal EdgeLoraException(Code code, string message) : base(message)
        {
            Code = code;
        }

        internal static EdgeLoraException Input(string message)
        {
            return new EdgeLoraException(Code.InvalidInput, message);
        }

        /// <summary>What a call has written as its error; frees it.</summary>
        internal static void Check(int status, IntPtr error)
        {
            if (status == 0)
            {
                return;
            }
            var code = Enum.IsDefined(typeof(Code), status) ? (Code)status : Code.Internal;
            var message = Text.ZeroEnded(Native.edgelora_error_message(error));
            Native.edgelora_error_free(error);
            throw new EdgeLoraException(code, message);
        }
    }
}
