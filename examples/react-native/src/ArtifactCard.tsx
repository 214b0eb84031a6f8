/** Bring an artifact into app storage, and open one that is there. */

import type { DownloadProgress } from "@edgelora/runtime/react-native";
import { useRef, useState } from "react";
import { View } from "react-native";
import { bringArtifact, listArtifacts, removeArtifact } from "./artifacts";
import { messageOf } from "./errors";
import { Button, Card, Choice, Field, Note } from "./ui";

interface Props {
  readonly opened: string | null;
  readonly isBusy: boolean;
  readonly onOpen: (name: string) => void;
  readonly onRemove: (name: string) => void;
}

export function ArtifactCard({ opened, isBusy, onOpen, onRemove }: Props) {
  const [names, setNames] = useState(listArtifacts);
  const [address, setAddress] = useState("");
  const [progress, setProgress] = useState<DownloadProgress | null>(null);
  const [error, setError] = useState<string | null>(null);
  const ending = useRef<AbortController | null>(null);

  const bring = async () => {
    const control = new AbortController();
    ending.current = control;
    setError(null);
    setProgress({ file: "manifest.json", loadedBytes: 0, totalBytes: 1 });
    try {
      onOpen(await bringArtifact(address.trim(), control.signal, setProgress));
    } catch (found) {
      if (!control.signal.aborted) setError(messageOf(found));
    } finally {
      setProgress(null);
      setNames(listArtifacts());
    }
  };

  const remove = (name: string) => {
    onRemove(name);
    removeArtifact(name);
    setNames(listArtifacts());
  };

  return (
    <Card title="Artifact">
      {names.length > 0 ? (
        <Choice
          options={names}
          chosen={opened}
          spoken={(name) => `Open the artifact ${name}`}
          onChoose={onOpen}
          disabled={isBusy || progress !== null}
        />
      ) : (
        <Note>No artifact on this device yet. Give the address of a folder that edgelora export wrote.</Note>
      )}
      <Field
        label="Address of an artifact"
        placeholder="https://example.org/artifact"
        value={address}
        onChangeText={setAddress}
        autoCapitalize="none"
        autoCorrect={false}
        inputMode="url"
        editable={progress === null}
      />
      <View style={{ gap: 8 }}>
        {progress === null ? (
          <Button label="Download" onPress={bring} disabled={isBusy || address.trim() === ""} />
        ) : (
          <>
            <Note>{describe(progress)}</Note>
            <Button
              label="Pause"
              spoken="Pause the download; it goes on later"
              onPress={() => ending.current?.abort()}
            />
          </>
        )}
        {opened !== null && progress === null && (
          <Button label={`Remove ${opened}`} onPress={() => remove(opened)} disabled={isBusy} isQuiet />
        )}
      </View>
      {error !== null && <Note isError>{error}</Note>}
    </Card>
  );
}

function describe({ file, loadedBytes, totalBytes }: DownloadProgress): string {
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);
  const percent = Math.floor((100 * loadedBytes) / totalBytes);
  return `${percent} % (${megabytes(loadedBytes)} of ${megabytes(totalBytes)} MB), ${file}`;
}
