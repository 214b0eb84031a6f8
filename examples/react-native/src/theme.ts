/** Colours in light and dark; all text stands at 4.5:1 or more against what is behind it. */

import { useColorScheme } from "react-native";

const light = {
  page: "#f4f4f1",
  card: "#ffffff",
  line: "#d9d9d2",
  text: "#1b1b18",
  quiet: "#5c5c55",
  accent: "#1f5fa8",
  onAccent: "#ffffff",
  error: "#a3251b",
};

export type Theme = typeof light;

const dark: Theme = {
  page: "#141412",
  card: "#1f1f1c",
  line: "#3a3a35",
  text: "#f1f1ec",
  quiet: "#b3b3aa",
  accent: "#8fbcf0",
  onAccent: "#10233a",
  error: "#ff9d92",
};

export function useTheme(): Theme {
  return useColorScheme() === "dark" ? dark : light;
}
