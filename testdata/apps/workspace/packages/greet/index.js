export function greet(name) {
  return `Hello, ${name}, from a package of the workspace`;
}
