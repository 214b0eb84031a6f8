package dev.edgelora.sample

import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.lazy.LazyColumn
import androidx.compose.foundation.lazy.items
import androidx.compose.material3.Button
import androidx.compose.material3.FilterChip
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.Slider
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.remember
import androidx.compose.runtime.setValue
import androidx.compose.ui.Modifier
import androidx.compose.ui.text.style.TextAlign
import androidx.compose.ui.unit.dp
import kotlin.math.roundToInt

/** A conversation, a choice of two adapters, and a slider between them. */
@Composable
fun ConversationScreen(shown: Shown, swap: (String) -> Unit, say: (String) -> Unit, stop: () -> Unit) {
    var first by remember { mutableStateOf("none") }
    var second by remember { mutableStateOf("none") }
    var share by remember { mutableStateOf(0f) }
    var text by remember { mutableStateOf("") }
    val blend = { swap(Talk.blend(first, second, (share * 10).roundToInt() / 10.0)) }

    MaterialTheme {
        Column(Modifier.padding(16.dp)) {
            Text(shown.state)
            Choice(shown.adapters, first) { first = it; blend() }
            Choice(shown.adapters, second) { second = it; blend() }
            Slider(
                share, { share = it }, enabled = second != "none", steps = 9, onValueChangeFinished = blend,
            )
            LazyColumn(Modifier.weight(1f)) {
                items(shown.messages) { message ->
                    val align = if (message.role == "user") TextAlign.End else TextAlign.Start
                    Text(message.content, Modifier.fillMaxWidth().padding(4.dp), textAlign = align)
                }
            }
            OutlinedTextField(text, { text = it }, Modifier.fillMaxWidth())
            Row {
                Button({ say(text); text = "" }, enabled = text.isNotEmpty() && !shown.answering) { Text("Send") }
                Button(stop, enabled = shown.answering) { Text("Stop") }
            }
        }
    }
}

@Composable
private fun Choice(names: List<String>, chosen: String, choose: (String) -> Unit) {
    Row {
        names.forEach { name -> FilterChip(name == chosen, { choose(name) }, { Text(name) }) }
    }
}
