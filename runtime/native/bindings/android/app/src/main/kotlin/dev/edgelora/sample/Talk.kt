package dev.edgelora.sample

import dev.edgelora.Cancel
import dev.edgelora.Message
import dev.edgelora.Model
import dev.edgelora.chat
import dev.edgelora.options
import java.util.Locale

/** A conversation with one model, without anything of Android's: which adapters act, what was said. */
class Talk(private val model: Model) {
    private val said = mutableListOf<Message>()
    private val ending = Cancel()

    /** Use a SPEC; the milliseconds that it took. */
    fun swap(spec: String): Double {
        val start = System.nanoTime()
        model.setAdapter(spec)
        return (System.nanoTime() - start) / 1e6
    }

    /** Answer `text` piece by piece, with all that was said before. */
    fun say(text: String, take: (String) -> Unit) {
        ending.reset()
        said += Message("user", text)
        val answer = model.chat(said, options { cancel(ending) }) { take(it); true }
        said += Message("assistant", answer.text)
    }

    /** End the answer that is being made; `say` then throws, and what was asked stays said. */
    fun stop() = ending.set()

    companion object {
        /** The SPEC of two adapters, of which the second has the weight `share` and the first the rest. */
        fun blend(first: String, second: String, share: Double): String = when {
            second == "none" || share == 0.0 -> first
            first == "none" || share == 1.0 -> "%s:%.2f".format(Locale.ROOT, second, share)
            else -> "%s:%.2f+%s:%.2f".format(Locale.ROOT, first, 1 - share, second, share)
        }
    }
}
