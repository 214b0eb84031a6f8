/** `node webpack.mjs ENTRY FOLDER`: bundles with webpack as it comes, but for its advice about sizes. */

import { resolve } from "node:path";
import webpack from "webpack";

const [entry, path] = process.argv.slice(2);
const config = { mode: "production", entry: resolve(entry), output: { path }, performance: { hints: false } };
webpack(config, (error, stats) => {
  if (error || stats.hasErrors() || stats.hasWarnings()) {
    console.error(error ?? stats.toString({ all: false, errors: true, warnings: true }));
    process.exitCode = 1;
  }
});
