// Runs inside asc: the engine looks for names such as `engate:plugin/delivery@0.1.0#transform`, AssemblyScript has only identifiers.
import { Transform } from "assemblyscript/transform";
const interfaces = { describe: "plugin", transform: "delivery", interpret: "delivery" };
export default class extends Transform {
  afterCompile(module) {
    for (const [name, owner] of Object.entries(interfaces)) {
      const full = `engate:plugin/${owner}@0.1.0#${name}`;
      module.removeExport(name);
      module.addFunctionExport(`assembly/partner/${name}`, full);
      module.addFunctionExport("assembly/engate/release", `cabi_post_${full}`);
    }
    module.removeExport("release");
  }
}
