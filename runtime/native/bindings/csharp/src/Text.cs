using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text;

namespace EdgeLora
{
    /// <summary>Texts on their way into C and back, and what is kept while C reads it.</summary>
    internal sealed class Text : IDisposable
    {
        private static readonly UTF8Encoding Strict = new UTF8Encoding(false, true);

        private readonly List<IntPtr> kept = new List<IntPtr>();

        internal static byte[] Bytes(string text)
        {
            try
            {
                return Strict.GetBytes(text);
            }
            catch (EncoderFallbackException)
            {
                throw EdgeLoraException.Input("a text holds half of a surrogate pair, which is no character; take it out");
            }
        }

        /// <summary>With a zero byte behind it; null stays null.</summary>
        internal static byte[] Ended(string text)
        {
            if (text == null)
            {
                return null;
            }
            if (text.IndexOf('\0') >= 0)
            {
                throw EdgeLoraException.Input("a text holds a zero byte; take it out");
            }
            return Bytes(text + "\0");
        }

        /// <summary>The same in memory of C, until this is disposed of.</summary>
        internal IntPtr Keep(string text)
        {
            var bytes = Ended(text);
            if (bytes == null)
            {
                return IntPtr.Zero;
            }
            var place = Marshal.AllocHGlobal(bytes.Length);
            kept.Add(place);
            Marshal.Copy(bytes, 0, place, bytes.Length);
            return place;
        }

        internal IntPtr Keep(IEnumerable<string> texts)
        {
            return texts == null ? IntPtr.Zero : Keep(Json(texts));
        }

        public void Dispose()
        {
            kept.ForEach(Marshal.FreeHGlobal);
            kept.Clear();
        }

        internal static string Json(IEnumerable<string> texts)
        {
            return "[" + string.Join(",", texts.Select(Json)) + "]";
        }

        internal static string Json(string text)
        {
            var found = new StringBuilder("\"");
            foreach (var letter in text)
            {
                if (letter == '"' || letter == '\\')
                {
                    found.Append('\\').Append(letter);
                }
                else if (letter < 0x20)
                {
                    found.Append("\\u").Append(((int)letter).ToString("x4"));
                }
                else
                {
                    found.Append(letter);
                }
            }
            return found.Append('"').ToString();
        }

        internal static string Read(IntPtr text, UIntPtr nBytes)
        {
            var bytes = new byte[checked((int)nBytes)];
            if (bytes.Length > 0)
            {
                Marshal.Copy(text, bytes, 0, bytes.Length);
            }
            return Encoding.UTF8.GetString(bytes);
        }

        internal static string ZeroEnded(IntPtr text)
        {
            var length = 0;
            while (Marshal.ReadByte(text, length) != 0)
            {
                length++;
            }
            return Read(text, (UIntPtr)length);
        }

        /// <summary>Copy a text that C has given, and give it back.</summary>
        internal static string Take(IntPtr text, UIntPtr nBytes)
        {
            try
            {
                return Read(text, nBytes);
            }
            finally
            {
                Native.edgelora_free(text);
            }
        }

        internal static int[] TakeIds(IntPtr ids, UIntPtr nIds)
        {
            try
            {
                return ReadIds(ids, nIds);
            }
            finally
            {
                Native.edgelora_free(ids);
            }
        }

        internal static float[] TakeFloats(IntPtr numbers, UIntPtr count)
        {
            try
            {
                var found = new float[checked((int)count)];
                if (found.Length > 0)
                {
                    Marshal.Copy(numbers, found, 0, found.Length);
                }
                return found;
            }
            finally
            {
                Native.edgelora_free(numbers);
            }
        }

        internal static int[] ReadIds(IntPtr ids, UIntPtr nIds)
        {
            var found = new int[checked((int)nIds)];
            if (found.Length > 0)
            {
                Marshal.Copy(ids, found, 0, found.Length);
            }
            return found;
        }
    }
}
