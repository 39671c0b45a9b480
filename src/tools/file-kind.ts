/**
 * What kind of file some bytes are, as far as a reader of text must know: text, a picture, or other
 * bytes that would only fill a conversation with rubbish. Told by content, never by name. Pure.
 */

/** A kind with the words for it; `encoding` is that of text. */
type FileKind =
  | { readonly kind: "text"; readonly encoding: "utf-8" | "utf-16le" | "utf-16be" }
  | { readonly kind: "image"; readonly what: string }
  | { readonly kind: "binary"; readonly what: string };

/** A NUL this close to the start makes a file binary (ripgrep's rule). Bytes. */
export const BINARY_CHECK_BYTES = 64 * 1024;

const FORMATS: readonly (readonly [string, string])[] = [
  ["%PDF-", "PDF document"],
  ["PK\u0003\u0004", "ZIP archive or office document"],
  ["\u001f\u008b", "gzip data"],
  ["7z\u00bc\u00af", "7-zip archive"],
  ["\u00fd7zXZ", "xz data"],
  ["(\u00b5/\u00fd", "zstd data"],
  ["BZh", "bzip2 data"],
  ["\u007fELF", "ELF program or library"],
  ["\u00cf\u00fa\u00ed\u00fe", "Mach-O program or library"],
  ["\u0000asm", "WebAssembly module"],
  ["SQLite format 3\u0000", "SQLite database"],
  ["\u00ca\u00fe\u00ba\u00be", "Java class or Mach-O program"],
  ["OggS", "Ogg sound or video"],
  ["ID3", "MP3 sound"],
  ["fLaC", "FLAC sound"],
];

/** Looks at the content of a whole file. */
export function kindOfFile(bytes: Uint8Array): FileKind {
  const image = imageIn(bytes);
  if (image !== undefined) return { kind: "image", what: image };
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return { kind: "text", encoding: "utf-16le" };
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return { kind: "text", encoding: "utf-16be" };
  const nul = bytes.subarray(0, BINARY_CHECK_BYTES).indexOf(0) !== -1;
  const format = FORMATS.find(([magic]) => startsWith(bytes, magic))?.[1];
  // Letters alone may also begin a text: only with a NUL, or for a PDF, whose text is none.
  if (format !== undefined && (nul || format === "PDF document")) {
    return { kind: "binary", what: format };
  }
  return nul ? { kind: "binary", what: "binary data" } : { kind: "text", encoding: "utf-8" };
}

function startsWith(bytes: Uint8Array, magic: string, at = 0): boolean {
  for (let index = 0; index < magic.length; index += 1) {
    if (bytes[at + index] !== magic.charCodeAt(index)) return false;
  }
  return true;
}

/** Format and size of a picture, as `PNG image, 640 x 480`; undefined for anything else. */
function imageIn(bytes: Uint8Array): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sized = (name: string, size: Size | undefined): string =>
    size === undefined ? `${name} image` : `${name} image, ${size.width} x ${size.height}`;
  const at = (end: number, read: () => Size | undefined): Size | undefined =>
    bytes.length >= end ? read() : undefined;
  if (startsWith(bytes, "\u0089PNG\r\n\u001a\n")) {
    return sized(
      "PNG",
      at(24, () => ({ width: view.getUint32(16), height: view.getUint32(20) })),
    );
  }
  if (startsWith(bytes, "GIF87a") || startsWith(bytes, "GIF89a")) {
    const read = (): Size => ({ width: view.getUint16(6, true), height: view.getUint16(8, true) });
    return sized("GIF", at(10, read));
  }
  if (startsWith(bytes, "\u00ff\u00d8\u00ff")) return sized("JPEG", jpegSize(view));
  if (startsWith(bytes, "RIFF") && startsWith(bytes, "WEBP", 8)) {
    return sized(
      "WebP",
      at(30, () => webpSize(bytes, view)),
    );
  }
  if (startsWith(bytes, "BM") && bytes.length >= 26 && view.getUint32(6, true) === 0) {
    const height = Math.abs(view.getInt32(22, true));
    return sized("BMP", { width: view.getInt32(18, true), height });
  }
  if (startsWith(bytes, "II*\u0000") || startsWith(bytes, "MM\u0000*"))
    return sized("TIFF", undefined);
  if (startsWith(bytes, "\u0000\u0000\u0001\u0000")) return sized("icon", undefined);
  if (startsWith(bytes, "ftypavif", 4)) return sized("AVIF", undefined);
  if (startsWith(bytes, "ftypheic", 4)) return sized("HEIC", undefined);
  return undefined;
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Size in the first frame header (ITU T.81, marker SOFn). */
function jpegSize(view: DataView): Size | undefined {
  let at = 2;
  while (at + 9 < view.byteLength) {
    if (view.getUint8(at) !== 0xff) return undefined;
    const marker = view.getUint8(at + 1);
    const isFrame =
      marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    at += 2 + Math.max(2, view.getUint16(at + 2));
  }
  return undefined;
}

/** Size in the first chunk of the container: lossy, lossless or extended. */
function webpSize(bytes: Uint8Array, view: DataView): Size | undefined {
  if (startsWith(bytes, "VP8X", 12)) {
    const read24 = (at: number): number =>
      view.getUint16(at, true) + view.getUint8(at + 2) * 65_536;
    return { width: read24(24) + 1, height: read24(27) + 1 };
  }
  if (startsWith(bytes, "VP8L", 12)) {
    const bits = view.getUint32(21, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
  }
  if (!startsWith(bytes, "VP8 ", 12)) return undefined;
  return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
}
