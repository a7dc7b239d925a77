;; The sync target from which the hostile ones are made: nothing prepares it, every page goes out as the same request, every
;; answer is an acceptance, and nothing closes a pass. The tests replace the lines that begin with ;;@ and put the
;; contract around the module.
;;
;; Addresses: 1024 the manifest, 1200 the answer of `open`, 1304 of `encode`, 1400 of `settle`, 1504 of `close`, from 2048
;; texts, from 8192 the heap.
(module
  (import "engate:plugin/state@0.1.0" "put" (func $state_put (param i32 i32 i32 i32 i32)))
  ;;@imports
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 8192))
  (global $calls (mut i32) (i32.const 0))

  ;; id, version, title, config-schema; event-types; interpret = never; hosts, credentials, secrets
  (data (i32.const 1024)
    "\00\08\00\00\06\00\00\00" "\10\08\00\00\05\00\00\00" "\20\08\00\00\06\00\00\00" "\30\08\00\00\02\00\00\00"
    "\00\00\00\00\00\00\00\00" "\00\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00")
  ;; ok; method, url, headers; body = text; compress = yes; credential = none
  (data (i32.const 1304)
    "\00\00\00\00"
    "\40\08\00\00\04\00\00\00" "\50\08\00\00\14\00\00\00" "\00\00\00\00\00\00\00\00"
    "\01\00\00\00\70\08\00\00\02\00\00\00" "\01\00\00\00" "\00\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 2048) "target")
  (data (i32.const 2064) "0.1.0")
  (data (i32.const 2080) "Target")
  (data (i32.const 2096) "{}")
  (data (i32.const 2112) "POST")
  (data (i32.const 2128) "https://a.example/in")
  (data (i32.const 2160) "[]")
  (data (i32.const 2176) "key")
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

  ;; name, target, key, columns
  (func (export "engate:plugin/sink@0.1.0#open") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    ;;@open
    (i32.const 1200))

  ;; At the pointer: the pass (id, stream, partition, range-start, started-at; 72 bytes), then the page (id, sequence, changes).
  (func (export "engate:plugin/sink@0.1.0#encode") (param $arguments i32) (result i32)
    ;;@encode
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.const 1304))

  ;; pass-id, page-id; size; status, headers, body, truncated, elapsed-ms
  (func (export "engate:plugin/sink@0.1.0#settle")
    (param i32 i32 i32 i32) (param $size i32) (param $status i32) (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    ;;@settle
    (i32.const 1400))

  ;; At the pointer: the pass, then the totals.
  (func (export "engate:plugin/sink@0.1.0#close") (param $arguments i32) (result i32)
    ;;@close
    (i32.const 1504))
)
