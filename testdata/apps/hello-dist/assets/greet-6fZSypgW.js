export const greetings = ["Hello", "Bonjour", "Hallo", "Hola", "Ciao"];

export function greeting(n) {
  return `${greetings[n % greetings.length]} from a poured image`;
}
