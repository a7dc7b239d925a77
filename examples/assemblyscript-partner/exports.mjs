// Runs inside asc, between compiling and optimizing. The engine looks for names such as
// `engate:plugin/delivery@0.1.0#transform`, and AssemblyScript exports only identifiers: this gives the exports their names.
import { Transform } from "assemblyscript/transform";

const interfaces = { describe: "plugin", transform: "delivery", interpret: "delivery" };

export default class extends Transform {
  afterCompile(module) {
    for (const [name, owner] of Object.entries(interfaces)) {
      const full = `engate:plugin/${owner}@0.1.0#${name}`;
      module.removeExport(name);
      module.addFunctionExport(`assembly/index/${name}`, full);
      module.addFunctionExport("assembly/index/release", `cabi_post_${full}`);
    }
    module.removeExport("release");
  }
}
