/** Ask, and watch the answer come. */

import { useState } from "react";
import { StyleSheet, Text } from "react-native";
import { useTheme } from "./theme";
import { Button, Card, Field, Note } from "./ui";

interface Props {
  readonly answer: string;
  readonly rate: number | null;
  readonly isAnswering: boolean;
  readonly isBusy: boolean;
  readonly onAsk: (prompt: string) => void;
  readonly onStop: () => void;
}

export function AnswerCard({ answer, rate, isAnswering, isBusy, onAsk, onStop }: Props) {
  const theme = useTheme();
  const [prompt, setPrompt] = useState("");
  return (
    <Card title="Ask">
      <Field label="Prompt" value={prompt} onChangeText={setPrompt} multiline />
      {isAnswering ? (
        <Button label="Stop" spoken="Stop the answer" onPress={onStop} />
      ) : (
        <Button label="Send" onPress={() => onAsk(prompt)} disabled={isBusy || prompt.trim() === ""} />
      )}
      {answer !== "" && (
        <Text
          selectable
          accessibilityLabel={`Answer: ${answer}`}
          accessibilityState={{ busy: isAnswering }}
          style={[styles.answer, { color: theme.text }]}
        >
          {answer}
        </Text>
      )}
      {rate !== null && <Note>{`${rate.toFixed(1)} tokens each second`}</Note>}
    </Card>
  );
}

const styles = StyleSheet.create({ answer: { fontSize: 17, lineHeight: 25 } });
