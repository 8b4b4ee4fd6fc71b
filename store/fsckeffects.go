package store

import (
	"encoding/json"
	"errors"

	"github.com/dgraph-io/badger/v4"
)

// What is kept of effects is never dropped, also when it does not decode: that it is
// there is what counts. It is written anew then, without what cannot be read of it.

func (f *fsck) begunEffect(txn *badger.Txn, item *badger.Item) error {
	return f.effect(txn, item, "plumb run says that an effect may have happened, and not in which run", func(b []byte) error {
		_, err := decodeJSON[Beginning](b)
		return err
	}, func(Key) ([]byte, error) { return json.Marshal(Beginning{}) })
}

func (f *fsck) doneEffect(txn *badger.Txn, item *badger.Item) error {
	return f.effect(txn, item, "the effect counts as done, and what it left is not known", func(b []byte) error {
		_, err := decodeRecord(Key(item.Key()[1:]), b)
		return err
	}, func(k Key) ([]byte, error) { return encodeRecord(&Record{Key: k}), nil })
}

func (f *fsck) effect(txn *badger.Txn, item *badger.Item, loss string, decode func([]byte) error, anew func(Key) ([]byte, error)) error {
	if len(item.Key()) != 1+len(Key{}) {
		return f.stray(item)
	}
	k := Key(item.Key()[1:])
	p, err := f.s.payload(txn, item.KeyCopy(nil))
	if err == nil {
		err = decode(p)
	}
	if err == nil {
		f.report.Effects++
		return nil
	}
	if !errors.Is(err, errFrame) {
		return err
	}
	payload, aerr := anew(k)
	if aerr != nil {
		return aerr
	}
	return f.change(Finding{
		Kind: FoundDamagedRecord, Object: "effect " + k.Short(), Detail: err.Error(), Effect: loss, Remedy: "it is written anew, without what is lost",
	}, edit{key: item.KeyCopy(nil), version: item.Version(), payload: payload})
}
