;; The receiver from which the hostile ones are made: it describes itself and answers every call with 200 and nothing else.
;; The tests replace the lines that begin with ;;@ and put the contract around the module.
;;
;; Addresses: 1024 the manifest, 1200 the answer of `receive`, from 2048 texts, from 8192 the heap.
(module
  (import "engate:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
  (import "engate:plugin/state@0.1.0" "get" (func $state_get (param i32 i32 i32)))
  (import "engate:plugin/state@0.1.0" "put" (func $state_put (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 8192))

  ;; id, version, title, config-schema; event-types; interpret = never; hosts, credentials, secrets
  (data (i32.const 1024)
    "\00\08\00\00\05\00\00\00" "\10\08\00\00\05\00\00\00" "\20\08\00\00\05\00\00\00" "\30\08\00\00\02\00\00\00"
    "\00\00\00\00\00\00\00\00" "\00\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00")
  ;; ok; status = 200; headers; body = empty; events
  (data (i32.const 1200)
    "\00\00\00\00" "\c8\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00")
  (data (i32.const 2048) "calls")
  (data (i32.const 2064) "0.1.0")
  (data (i32.const 2080) "Calls")
  (data (i32.const 2096) "{}")
  (data (i32.const 2112) "key")
  ;;@data

  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1)))))
    (local.get $at))

  (func (export "engate:plugin/plugin@0.1.0#describe") (result i32)
    (i32.const 1024))

  ;; method, path, query, headers; body; remote-address; now
  (func (export "engate:plugin/inbound@0.1.0#receive")
    (param i32 i32 i32 i32 i32 i32 i32 i32) (param i32 i32 i32) (param i32 i32) (param i64) (result i32)
    ;;@receive
    (i32.const 1200))
)
