// A spoken question: the microphone to a WAV file of 16 kHz, mono, 16 bits.
import { clear, h } from "./dom.js";
import { icon } from "./icons.js";
import { seconds, t } from "./i18n.js";
import { notice } from "./notice.js";

const RATE = 16_000;
const LONGEST_SECONDS = 600;

/** A button that records; `add([{name, blob}])` gets what was said. */
export function microphoneButton(add) {
  let running = null;
  const button = h("button", {
    type: "button",
    class: "icon-button mic",
    on: { click: () => (running ? finish() : begin()) },
  });
  const draw = () => {
    const label = running ? t("mic.stop") : t("mic.start");
    clear(button, icon(running ? "stop" : "mic"), running && h("span", {}, seconds(Math.floor(running.length / RATE))));
    button.setAttribute("aria-label", label);
    button.setAttribute("aria-pressed", String(Boolean(running)));
    button.title = label;
  };

  async function begin() {
    button.disabled = true;
    try {
      running = await record(() => {
        button.style.setProperty("--level", running.level.toFixed(2));
        if (running.length >= LONGEST_SECONDS * RATE) finish();
        else if (running.length % RATE < 128) draw();
      });
    } catch (error) {
      notice(t(error.name === "NotAllowedError" ? "mic.refused" : "mic.none"), { danger: true });
    }
    button.disabled = false;
    draw();
  }

  function finish() {
    const { pieces, length, close } = running;
    running = null;
    close();
    draw();
    if (length)
      add([
        {
          name: t("mic.name", { time: new Date().toTimeString().slice(0, 5).replace(":", "-") }),
          blob: wav(pieces, length),
        },
      ]);
  }

  draw();
  return button;
}

async function record(heard) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true } });
  const context = new AudioContext({ sampleRate: RATE });
  await context.audioWorklet.addModule("/app/js/recorder-worklet.js");
  const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  const state = { pieces: [], length: 0, level: 0, close };
  node.port.onmessage = ({ data }) => {
    state.pieces.push(data);
    state.length += data.length;
    state.level = Math.max(state.level * 0.9, Math.max(...data.map(Math.abs)));
    heard();
  };
  context.createMediaStreamSource(stream).connect(node);
  function close() {
    node.port.onmessage = null;
    for (const track of stream.getTracks()) track.stop();
    context.close();
  }
  return state;
}

/** Samples from −1 to 1 as a WAV file. */
export function wav(pieces, length, rate = RATE) {
  const data = new DataView(new ArrayBuffer(44 + 2 * length));
  const word = (at, text) => [...text].forEach((sign, index) => data.setUint8(at + index, sign.charCodeAt(0)));
  word(0, "RIFF");
  data.setUint32(4, 36 + 2 * length, true);
  word(8, "WAVEfmt ");
  data.setUint32(16, 16, true);
  data.setUint16(20, 1, true);
  data.setUint16(22, 1, true);
  data.setUint32(24, rate, true);
  data.setUint32(28, 2 * rate, true);
  data.setUint16(32, 2, true);
  data.setUint16(34, 16, true);
  word(36, "data");
  data.setUint32(40, 2 * length, true);
  let at = 44;
  for (const piece of pieces) {
    for (const sample of piece) {
      data.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true);
      at += 2;
    }
  }
  return new Blob([data], { type: "audio/wav" });
}
