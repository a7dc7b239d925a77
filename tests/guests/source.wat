;; The sync source from which the hostile ones are made: its feed is empty. `$fetch` asks the engine for one URL and leaves
;; the answer at 1600. The tests replace the lines that begin with ;;@ and put the contract around the module.
;;
;; Addresses: 1024 the manifest, 1200 the answer of `pull`, 1600 that of `http.send`, from 2048 texts, from 3072 what the
;; tests put there, from 8192 the heap.
(module
  (import "engate:plugin/http@0.1.0" "send"
    (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "engate:plugin/state@0.1.0" "put" (func $state_put (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 8192))

  ;; id, version, title, config-schema; event-types; interpret = never; hosts, credentials, secrets
  (data (i32.const 1024)
    "\00\08\00\00\04\00\00\00" "\10\08\00\00\05\00\00\00" "\20\08\00\00\04\00\00\00" "\30\08\00\00\02\00\00\00"
    "\00\00\00\00\00\00\00\00" "\00\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00")
  ;; At 1200: ok; changes; next; more. At 3072: one change: key, upsert, data.
  (data (i32.const 3072) "\80\08\00\00\03\00\00\00" "\00\00\00\00" "\30\08\00\00\02\00\00\00")
  (data (i32.const 2048) "feed")
  (data (i32.const 2064) "0.1.0")
  (data (i32.const 2080) "Feed")
  (data (i32.const 2096) "{}")
  (data (i32.const 2112) "GET")
  (data (i32.const 2128) "https://a.example/in")
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

  ;; method, url, headers; body = empty; compress = no; credential = none
  (func $fetch
    (call $send
      (i32.const 2112) (i32.const 3) (i32.const 2128) (i32.const 20) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1600)))

  ;; Takes the body of the response at 1600 for the next cursor; of an error its number.
  (func $next_is_body
    (if (i32.load8_u (i32.const 1600))
      (then
        (i32.store8 (i32.const 4096) (i32.add (i32.const 48) (i32.load8_u (i32.const 1604))))
        (i32.store (i32.const 1212) (i32.const 4096))
        (i32.store (i32.const 1216) (i32.const 1)))
      (else
        (i32.store (i32.const 1212) (i32.load (i32.const 1620)))
        (i32.store (i32.const 1216) (i32.load (i32.const 1624))))))

  (func (export "engate:plugin/plugin@0.1.0#describe") (result i32)
    ;;@describe
    (i32.const 1024))

  ;; stream; after; max-changes; now
  (func (export "engate:plugin/source@0.1.0#pull")
    (param i32 i32) (param $resumes i32) (param $after i32) (param $after_length i32) (param $max i32) (param i64) (result i32)
    ;;@pull
    (i32.const 1200))
)
