// Parses schemas/json/asyncapi.yaml with @asyncapi/parser; anything from a warning on fails.
const path = require("path");
const { Parser, fromFile } = require("@asyncapi/parser");

const WARNING = 1;
const file = path.join(__dirname, "../../schemas/json/asyncapi.yaml");

fromFile(new Parser(), file)
  .parse()
  .then(({ document, diagnostics }) => {
    const findings = diagnostics.filter((found) => found.severity <= WARNING);
    findings.forEach((found) => console.error(found.message, found.path.join(".")));
    const isParsed = document && findings.length === 0;
    console.log(isParsed ? `${document.channels().all().length} channels` : "not parsed");
    process.exit(isParsed ? 0 : 1);
  });
