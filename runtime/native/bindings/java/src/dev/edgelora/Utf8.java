package dev.edgelora;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** Texts on their way into C and back: UTF-8, not the variety of it that JNI has. */
final class Utf8 {
    private Utf8() {}

    static byte[] bytes(String text) {
        try {
            ByteBuffer found = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(text));
            byte[] bytes = new byte[found.remaining()];
            found.get(bytes);
            return bytes;
        } catch (CharacterCodingException error) {
            throw refusal("a text holds half of a surrogate pair, which is no character; take it out");
        }
    }

    /** For a text that C reads up to its zero byte; null stays null. */
    static byte[] zeroEnded(String text) {
        if (text == null) {
            return null;
        }
        if (text.indexOf(0) >= 0) {
            throw refusal("a text holds a zero byte; take it out");
        }
        return bytes(text);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    /** A list as JSON; null where it is null. */
    static byte[] list(List<String> texts) {
        if (texts == null) {
            return null;
        }
        StringBuilder out = new StringBuilder("[");
        for (String text : texts) {
            out.append(out.length() > 1 ? "," : "").append(json(text));
        }
        return bytes(out.append(']').toString());
    }

    /** A text as JSON. */
    static String json(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (int at = 0; at < text.length(); at++) {
            char letter = text.charAt(at);
            if (letter == '"' || letter == '\\') {
                out.append('\\').append(letter);
            } else if (letter < 0x20) {
                out.append(String.format("\\u%04x", (int) letter));
            } else {
                out.append(letter);
            }
        }
        return out.append('"').toString();
    }

    static EdgeLoraException refusal(String message) {
        return new EdgeLoraException(Code.INVALID_INPUT, message);
    }
}
