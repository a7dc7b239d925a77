;; The guest from which the hostile ones are made: it describes itself, sends one fixed request and takes every
;; answer for success. The tests replace the lines that begin with ;;@ and put the contract around the module.
;;
;; Addresses: 1024 the manifest, 1200 the answer of `transform`, 1400 the answer of `interpret`, from 2048 texts,
;; from 8192 the heap.
(module
  (import "engate:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
  (import "engate:plugin/config@0.1.0" "get" (func $config (param i32 i32 i32)))
  (import "engate:plugin/secrets@0.1.0" "hmac-sha256" (func $hmac (param i32 i32 i32 i32 i32)))
  (import "engate:plugin/secrets@0.1.0" "reveal" (func $reveal (param i32 i32 i32)))
  (import "engate:plugin/state@0.1.0" "get" (func $state_get (param i32 i32 i32)))
  (import "engate:plugin/state@0.1.0" "put" (func $state_put (param i32 i32 i32 i32 i32)))
  ;;@imports
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 8192))
  (global $calls (mut i32) (i32.const 0))

  ;; id, version, title, config-schema; event-types; interpret = always; hosts, credentials, secrets
  (data (i32.const 1024)
    "\00\08\00\00\05\00\00\00" "\10\08\00\00\05\00\00\00" "\20\08\00\00\05\00\00\00" "\30\08\00\00\02\00\00\00"
    "\00\00\00\00\00\00\00\00" "\02\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00")
  ;; ok, send; method, url, headers; body = text; compress = no; credential = none; memo = none
  (data (i32.const 1200)
    "\00\00\00\00" "\00\00\00\00"
    "\40\08\00\00\04\00\00\00" "\50\08\00\00\14\00\00\00" "\80\08\00\00\00\00\00\00"
    "\01\00\00\00\70\08\00\00\02\00\00\00" "\00\00\00\00" "\00\00\00\00\00\00\00\00\00\00\00\00"
    "\00\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 2048) "guest")
  (data (i32.const 2064) "0.1.0")
  (data (i32.const 2080) "Guest")
  (data (i32.const 2096) "{}")
  (data (i32.const 2112) "POST")
  (data (i32.const 2128) "https://a.example/in")
  (data (i32.const 2160) "{}")
  ;; One header, used where the count at 1228 is set: name at 2208, value at 2224.
  (data (i32.const 2176) "\a0\08\00\00\03\00\00\00" "\b0\08\00\00\03\00\00\00")
  (data (i32.const 2208) "x-a")
  (data (i32.const 2224) "b-c")
  (data (i32.const 2240) "/a/b")
  (data (i32.const 2256) "key")
  (data (i32.const 2272) "\1b[31mred\r\nforged")
  ;;@data

  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    ;;@realloc
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1)))))
    (local.get $at))

  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))

  (func (export "engate:plugin/plugin@0.1.0#describe") (result i32)
    ;;@describe
    (i32.const 1024))

  (func (export "engate:plugin/delivery@0.1.0#transform") (param $arguments i32) (result i32)
    ;;@transform
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.const 1200))

  (func (export "engate:plugin/delivery@0.1.0#interpret") (param $arguments i32) (result i32)
    ;;@interpret
    (i32.const 1400))

  ;;@more
)
