/** The one screen: an artifact, its adapters, a prompt and the answer. */

import { type UsedModel, useModel } from "@edgelora/runtime/react";
import { StatusBar } from "expo-status-bar";
import { useState } from "react";
import { KeyboardAvoidingView, Platform, ScrollView, StyleSheet, Text } from "react-native";
import { SafeAreaProvider, SafeAreaView } from "react-native-safe-area-context";
import { AnswerCard } from "./AnswerCard";
import { ArtifactCard } from "./ArtifactCard";
import { openArtifact } from "./artifacts";
import { messageOf } from "./errors";
import { useTheme } from "./theme";
import { Card, Choice, Note } from "./ui";

export function App() {
  const theme = useTheme();
  const [name, setName] = useState<string | null>(null);
  const opened = useModel(name, openArtifact);
  return (
    <SafeAreaProvider>
      <StatusBar style="auto" />
      <SafeAreaView style={[styles.page, { backgroundColor: theme.page }]}>
        <KeyboardAvoidingView style={styles.page} behavior={Platform.OS === "ios" ? "padding" : undefined}>
          <ScrollView contentContainerStyle={styles.content} keyboardShouldPersistTaps="handled">
            <Text accessibilityRole="header" style={[styles.title, { color: theme.text }]}>
              EdgeLoRA
            </Text>
            <ArtifactCard opened={name} isBusy={opened.busy !== null} onOpen={setName} onRemove={() => setName(null)} />
            {opened.busy === "loading" && <Note>Opening…</Note>}
            {opened.model !== null && <AdapterCard opened={opened} />}
            {opened.model !== null && (
              <AnswerCard
                answer={opened.text}
                rate={opened.generation?.timings.tokensPerSecond ?? null}
                isAnswering={opened.busy === "answering"}
                isBusy={opened.busy !== null}
                onAsk={(prompt) => void opened.ask(prompt, { maxNewTokens: 256 })}
                onStop={opened.stop}
              />
            )}
            {opened.error !== null && <Note isError>{messageOf(opened.error)}</Note>}
          </ScrollView>
        </KeyboardAvoidingView>
      </SafeAreaView>
    </SafeAreaProvider>
  );
}

function AdapterCard({ opened: { model, adapter, swapMs, busy, setAdapter } }: { opened: UsedModel<unknown> }) {
  return (
    <Card title="Adapter">
      <Choice
        options={["none", ...(model?.adapters ?? [])]}
        chosen={adapter}
        spoken={(spec) => (spec === "none" ? "No adapter, the base model alone" : `Adapter ${spec}`)}
        onChoose={setAdapter}
        disabled={busy !== null}
      />
      {swapMs !== null && <Note>{`Switched in ${swapMs.toFixed(1)} ms`}</Note>}
      <Note>{`${model?.manifest.model.name} on ${model?.backend}`}</Note>
    </Card>
  );
}

const styles = StyleSheet.create({
  page: { flex: 1 },
  content: { padding: 16, gap: 16, maxWidth: 720, width: "100%", alignSelf: "center" },
  title: { fontSize: 28, fontWeight: "700" },
});
