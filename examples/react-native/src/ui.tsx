/** The pieces that every card is made of; they know nothing about models. */

import type { ReactNode } from "react";
import { Pressable, StyleSheet, Text, TextInput, type TextInputProps, View } from "react-native";
import { useTheme } from "./theme";

/** A titled box. */
export function Card({ title, children }: { title: string; children: ReactNode }) {
  const theme = useTheme();
  return (
    <View style={[styles.card, { backgroundColor: theme.card, borderColor: theme.line }]}>
      <Text accessibilityRole="header" style={[styles.title, { color: theme.text }]}>
        {title}
      </Text>
      {children}
    </View>
  );
}

/** Text that is less important, or an error; both are read out when they change. */
export function Note({ children, isError = false }: { children: ReactNode; isError?: boolean }) {
  const theme = useTheme();
  return (
    <Text
      accessibilityLiveRegion="polite"
      accessibilityRole={isError ? "alert" : "text"}
      style={[styles.note, { color: isError ? theme.error : theme.quiet }]}
    >
      {children}
    </Text>
  );
}

interface ButtonProps {
  readonly label: string;
  /** What a screen reader says where the label alone would not do. */
  readonly spoken?: string;
  readonly onPress: () => void;
  readonly disabled?: boolean;
  readonly isQuiet?: boolean;
}

export function Button({ label, spoken = label, onPress, disabled = false, isQuiet = false }: ButtonProps) {
  const theme = useTheme();
  return (
    <Pressable
      accessibilityRole="button"
      accessibilityLabel={spoken}
      accessibilityState={{ disabled }}
      disabled={disabled}
      onPress={onPress}
      style={({ pressed }) => [
        styles.button,
        { borderColor: theme.accent, backgroundColor: isQuiet ? "transparent" : theme.accent },
        (pressed || disabled) && styles.faded,
      ]}
    >
      <Text style={[styles.buttonText, { color: isQuiet ? theme.accent : theme.onAccent }]}>{label}</Text>
    </Pressable>
  );
}

interface ChoiceProps {
  readonly options: readonly string[];
  readonly chosen: string | null;
  readonly spoken: (option: string) => string;
  readonly onChoose: (option: string) => void;
  readonly disabled: boolean;
}

/** One of several, as radio buttons that wrap. */
export function Choice({ options, chosen, spoken, onChoose, disabled }: ChoiceProps) {
  const theme = useTheme();
  return (
    <View accessibilityRole="radiogroup" style={styles.row}>
      {options.map((option) => {
        const checked = option === chosen;
        return (
          <Pressable
            key={option}
            accessibilityRole="radio"
            accessibilityLabel={spoken(option)}
            accessibilityState={{ checked, disabled }}
            disabled={disabled}
            onPress={() => onChoose(option)}
            style={[
              styles.chip,
              {
                borderColor: checked ? theme.accent : theme.line,
                backgroundColor: checked ? theme.accent : "transparent",
              },
              disabled && styles.faded,
            ]}
          >
            <Text style={{ color: checked ? theme.onAccent : theme.text, fontSize: 16 }}>{option}</Text>
          </Pressable>
        );
      })}
    </View>
  );
}

/** A field with a label that screen readers find. */
export function Field({ label, ...input }: TextInputProps & { label: string }) {
  const theme = useTheme();
  return (
    <View style={styles.field}>
      <Text style={[styles.note, { color: theme.quiet }]}>{label}</Text>
      <TextInput
        accessibilityLabel={label}
        placeholderTextColor={theme.quiet}
        {...input}
        style={[styles.input, { color: theme.text, borderColor: theme.line }, input.multiline && styles.tall]}
      />
    </View>
  );
}

const styles = StyleSheet.create({
  card: { borderWidth: 1, borderRadius: 12, padding: 16, gap: 12 },
  title: { fontSize: 18, fontWeight: "600" },
  note: { fontSize: 14, lineHeight: 20 },
  row: { flexDirection: "row", flexWrap: "wrap", gap: 8 },
  button: { minHeight: 48, borderWidth: 1, borderRadius: 10, paddingHorizontal: 16, justifyContent: "center" },
  buttonText: { fontSize: 16, fontWeight: "600", textAlign: "center" },
  chip: { minHeight: 48, borderWidth: 1, borderRadius: 24, paddingHorizontal: 16, justifyContent: "center" },
  faded: { opacity: 0.6 },
  field: { gap: 4 },
  input: { minHeight: 48, borderWidth: 1, borderRadius: 10, paddingHorizontal: 12, paddingVertical: 10, fontSize: 16 },
  tall: { minHeight: 96, textAlignVertical: "top" },
});
