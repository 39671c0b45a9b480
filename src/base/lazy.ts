/** Values that are made when they are first asked for: most Pods never need most schemas. */

/** A function that makes its value at the first call and returns the same one from then on. */
export function lazily<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | undefined;
  return () => (made ??= { value: make() }).value;
}
