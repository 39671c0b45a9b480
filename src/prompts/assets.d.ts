/** Embedded prompt texts: `import text from "./assets/x.md" with { type: "text" }`. */
declare module "*.md" {
  const text: string;
  export default text;
}
