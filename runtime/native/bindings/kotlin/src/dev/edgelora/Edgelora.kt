/** EdgeLoRA in Kotlin's own words, over the Java classes. Needs no library but Kotlin's own. */
package dev.edgelora

import java.io.Closeable
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.atomic.AtomicBoolean

/** One message of a conversation; `role` is "system", "user" or "assistant". */
data class Message(val role: String, val content: String)

/** `options { adapter("polite:0.7+short:0.3"); maxNewTokens(64) }` */
fun options(set: Options.() -> Unit): Options = Options().apply(set)

/** `encoder.classify(texts, encoderOptions { adapter("topic") })` */
fun encoderOptions(set: EncoderOptions.() -> Unit): EncoderOptions = EncoderOptions().apply(set)

/** Answer a prompt: `model.generate("Hello") { adapter("polite") }`. */
fun Model.generate(prompt: String, set: Options.() -> Unit): Answer = generate(prompt, options(set))

/** Answer a prompt piece by piece; the answer ends when `take` returns false. */
fun Model.stream(prompt: String, options: Options = Options(), take: (String) -> Boolean): Answer =
    generate(prompt, options, TextListener { _, piece -> take(piece) })

/** Answer a conversation, piece by piece where `take` is given. */
fun Model.chat(messages: List<Message>, options: Options = Options(), take: ((String) -> Boolean)? = null): Answer =
    chat(json(messages), options, take?.let { TextListener { _, piece -> it(piece) } })

/** The pieces of an answer, made in a thread of their own while they are read. Close it to end the answer early. */
fun Model.pieces(prompt: String, options: Options = Options()): Pieces =
    Pieces { listener -> generate(prompt, options, listener) }

/** The same for a conversation. */
fun Model.pieces(messages: List<Message>, options: Options = Options()): Pieces =
    Pieces { listener -> chat(json(messages), options, listener) }

/** To be read once: `model.pieces("Hello").use { for (piece in it) print(piece) }`. */
class Pieces internal constructor(ask: (TextListener) -> Answer) : Iterator<String>, Closeable {
    private val found = LinkedBlockingQueue<Any>()
    private val closed = AtomicBoolean()
    private var next: Any? = null

    private val thread = Thread {
        // What ends the answer comes last, whatever it is: the answer, or what was thrown.
        val end = try {
            ask(TextListener { _, piece -> found.add(piece) && !closed.get() })
        } catch (thrown: Throwable) {
            thrown
        }
        found.add(end)
    }.apply { start() }

    /** The whole answer, once all pieces have been read. */
    val answer: Answer?
        get() = next as? Answer

    override fun hasNext(): Boolean {
        val found = next ?: this.found.take().also { next = it }
        if (found is Throwable) {
            throw found
        }
        return found is String
    }

    override fun next(): String {
        if (!hasNext()) {
            throw NoSuchElementException("the answer has ended")
        }
        return (next as String).also { next = null }
    }

    /** End the answer at its next piece, and wait for it. */
    override fun close() {
        closed.set(true)
        thread.join()
    }
}

private fun json(messages: List<Message>): String = messages.joinToString(",", "[", "]") {
    """{"role":${Utf8.json(it.role)},"content":${Utf8.json(it.content)}}"""
}
