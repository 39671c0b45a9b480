/** Ids of conversation items: `i000001` and on, rising within a session and through its compactions. */

const ID_DIGITS = 6;
const ID_PATTERN = /^i(\d{6,})$/;

/** Id of the item with this number. */
export function idOf(number: number): string {
  return `i${String(number).padStart(ID_DIGITS, "0")}`;
}

/** The number in an id of ours; undefined for any other text. */
export function numberOf(id: string): number | undefined {
  const digits = ID_PATTERN.exec(id)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
