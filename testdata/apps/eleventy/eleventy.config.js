export default function (config) {
  config.addPassthroughCopy("css");
}
