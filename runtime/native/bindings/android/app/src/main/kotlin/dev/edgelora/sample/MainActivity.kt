package dev.edgelora.sample

import android.os.Bundle
import android.os.Handler
import android.os.Looper
import androidx.activity.ComponentActivity
import androidx.activity.compose.setContent
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableStateListOf
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.setValue
import dev.edgelora.LoadOptions
import dev.edgelora.Message
import dev.edgelora.Model
import java.io.File
import java.util.concurrent.Executors
import org.json.JSONObject

/** What the screen shows; changed on the main thread alone. */
class Shown {
    var state by mutableStateOf("Loading")
    var answering by mutableStateOf(false)
    val adapters = mutableStateListOf("none")
    val messages = mutableStateListOf<Message>()
}

/** The model works in a thread of its own; the artifact is the folder "artifact" of the app's files. */
class MainActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val main = Handler(Looper.getMainLooper())
    private val shown = Shown()
    private var model: Model? = null
    private var talk: Talk? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContent { ConversationScreen(shown, swap = ::swap, say = ::say, stop = { talk?.stop() }) }
        work {
            val folder = File(getExternalFilesDir(null), "artifact").path
            val loaded = Model.load(folder, LoadOptions().cache(File(cacheDir, "graphs").path))
            val names = JSONObject(loaded.info()).getJSONArray("adapters")
            model = loaded
            talk = Talk(loaded)
            main.post {
                for (index in 0 until names.length()) {
                    shown.adapters += names.getString(index)
                }
                shown.state = "Ready"
            }
        }
    }

    override fun onDestroy() {
        talk?.stop()
        worker.execute { model?.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private fun swap(spec: String) = work {
        val took = talk?.swap(spec) ?: return@work
        main.post { shown.state = "%s in %.1f ms".format(spec, took) }
    }

    private fun say(text: String) {
        shown.messages += Message("user", text)
        shown.messages += Message("assistant", "")
        shown.answering = true
        work {
            try {
                talk?.say(text) { piece ->
                    main.post {
                        val last = shown.messages.last()
                        shown.messages[shown.messages.lastIndex] = last.copy(content = last.content + piece)
                    }
                }
            } finally {
                main.post { shown.answering = false }
            }
        }
    }

    private fun work(task: () -> Unit) = worker.execute {
        try {
            task()
        } catch (error: RuntimeException) {
            main.post { shown.state = error.message ?: error.toString() }
        }
    }
}
