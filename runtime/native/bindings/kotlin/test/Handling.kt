import dev.edgelora.Code
import dev.edgelora.EdgeLoraException
import dev.edgelora.Message
import dev.edgelora.Model
import dev.edgelora.chat
import dev.edgelora.generate
import dev.edgelora.options
import dev.edgelora.pieces
import dev.edgelora.sample.Talk
import dev.edgelora.stream

/** What the Kotlin layer adds: adapters by SPEC, streams, pieces; and the sample app's Talk. The argument is an artifact with an adapter "one". */
fun main(arguments: Array<String>) {
    Model.load(arguments[0]).use { model ->
        val short = options { maxNewTokens(16) }
        val base = model.generate("Zürich 🚀", short)
        val adapted = model.generate("Zürich 🚀") { adapter("one"); maxNewTokens(16) }
        expect(adapted.text != base.text) { "the adapter changes nothing" }

        model.setAdapter("one")
        val streamed = StringBuilder()
        val whole = model.stream("Zürich 🚀", short) { streamed.append(it).isNotEmpty() }
        expect(whole.text == adapted.text && streamed.toString() == adapted.text) { "$streamed" }
        model.setAdapter("none")
        expect(model.generate("Zürich 🚀", short).text == base.text) { "back without an adapter" }

        val talk = listOf(Message("user", "a \"quoted\"\nline"))
        val answer = model.chat(talk, short)
        val pieces = model.pieces(talk, short)
        expect(pieces.asSequence().joinToString("") == answer.text) { "pieces are the answer" }
        expect(pieces.answer?.text == answer.text && pieces.answer?.finishReason == "length") { "the whole at the end" }
        pieces.close()

        model.pieces("Zürich 🚀", options { maxNewTokens(100) }).use {
            expect(it.next().isNotEmpty()) { "a piece" }
        }
        val sample = Talk(model)
        expect(sample.swap(Talk.blend("one", "four", 0.3)) > 0) { "a swap takes time" }
        expect(Talk.blend("one", "four", 0.3) == "one:0.70+four:0.30") { Talk.blend("one", "four", 0.3) }
        val blended = model.generate("Hello", options { maxNewTokens(16); adapter("one:0.7+four:0.3") })
        expect(model.generate("Hello", short).text == blended.text) { "the blend is set" }
        val first = StringBuilder()
        sample.say("Hello") { first.append(it) }
        val ended = try {
            sample.say("Hello again") { sample.stop() }
            null
        } catch (error: EdgeLoraException) {
            error.code()
        }
        expect(first.isNotEmpty() && ended == Code.CANCELLED) { "$first, $ended" }

        val refused = try {
            model.pieces("Hello", options { adapter("nobody") }).hasNext()
            null
        } catch (error: EdgeLoraException) {
            error
        }
        expect(refused?.code() == Code.ADAPTER) { "$refused" }
    }
    println("handled")
}

private fun expect(holds: Boolean, found: () -> String) {
    if (!holds) {
        throw AssertionError(found())
    }
}
