package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// payment is what comes in.
type payment struct {
	Invoice struct {
		Number      string    `json:"number"`
		IssuedAt    time.Time `json:"issued_at"`
		AmountCents *int64    `json:"amount_cents"`
		Currency    string    `json:"currency"`
		Internal    bool      `json:"internal"`
	} `json:"invoice"`
	Customer struct {
		Name     string `json:"name"`
		Document string `json:"document"`
		Address  *struct {
			City  string `json:"city"`
			State string `json:"state"`
			Zip   string `json:"zip"`
		} `json:"address"`
	} `json:"customer"`
	Items []struct {
		SKU         string `json:"sku"`
		Description string `json:"description"`
		Quantity    int64  `json:"quantity"`
		UnitCents   int64  `json:"unit_cents"`
	} `json:"items"`
}

// check says what is not there; Go's JSON leaves such fields at their zero values.
func (p payment) check() error {
	for _, part := range []struct {
		name    string
		missing bool
	}{
		{"invoice.number", p.Invoice.Number == ""},
		{"invoice.issued_at", p.Invoice.IssuedAt.IsZero()},
		{"invoice.amount_cents", p.Invoice.AmountCents == nil},
		{"invoice.currency", p.Invoice.Currency == ""},
		{"customer.name", p.Customer.Name == ""},
		{"items", p.Items == nil},
	} {
		if part.missing {
			return fmt.Errorf("%s is missing", part.name)
		}
	}
	return nil
}

// notice is what goes out.
type notice struct {
	Document string   `json:"documento"`
	IssuedAt string   `json:"emissao"`
	Amount   string   `json:"valor"`
	Currency string   `json:"moeda"`
	Customer customer `json:"cliente"`
	Items    []item   `json:"itens"`
}

type customer struct {
	Name    string   `json:"nome"`
	CPF     string   `json:"cpf,omitzero"`
	CNPJ    string   `json:"cnpj,omitzero"`
	Address *address `json:"endereco,omitzero"`
}

type address struct {
	City  string `json:"municipio"`
	State string `json:"uf"`
	Zip   string `json:"cep"`
}

type item struct {
	SKU         string `json:"codigo"`
	Description string `json:"descricao"`
	Quantity    int64  `json:"quantidade"`
	Total       string `json:"total"`
}

func translate(paid payment, offsetMinutes int) (notice, error) {
	zone := time.FixedZone("", offsetMinutes*60)
	out := notice{
		Document: paid.Invoice.Number,
		IssuedAt: paid.Invoice.IssuedAt.In(zone).Format("02/01/2006 15:04"),
		Amount:   money(*paid.Invoice.AmountCents),
		Currency: paid.Invoice.Currency,
		Customer: customer{Name: paid.Customer.Name},
	}
	var person, company bool
	if out.Customer.CPF, person = masked(paid.Customer.Document, "###.###.###-##"); !person {
		if out.Customer.CNPJ, company = masked(paid.Customer.Document, "##.###.###/####-##"); !company {
			return out, errors.New("customer.document has neither 11 nor 14 digits")
		}
	}
	if from := paid.Customer.Address; from != nil {
		zip, good := masked(from.Zip, "#####-###")
		if !good {
			return out, errors.New("customer.address.zip has not 8 digits")
		}
		out.Customer.Address = &address{City: from.City, State: from.State, Zip: zip}
	}
	for _, from := range paid.Items {
		total, good := times(from.Quantity, from.UnitCents)
		if !good {
			return out, fmt.Errorf("the total of %s is too large", from.SKU)
		}
		out.Items = append(out.Items, item{from.SKU, from.Description, from.Quantity, money(total)})
	}
	return out, nil
}

// masked puts 12345678909 into ###.###.###-## as 123.456.789-09; empty and false where it does not fit in.
func masked(text, mask string) (string, bool) {
	rest := []rune(text)
	if len(rest) != strings.Count(mask, "#") {
		return "", false
	}
	return strings.Map(func(place rune) rune {
		if place == '#' {
			place, rest = rest[0], rest[1:]
		}
		return place
	}, mask), true
}

// money writes 123456789 as R$ 1.234.567,89.
func money(cents int64) string {
	sign, amount := "", uint64(cents)
	if cents < 0 {
		sign, amount = "-", -amount
	}
	whole := fmt.Sprint(amount / 100)
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "." + whole[at:]
	}
	return fmt.Sprintf("%sR$ %s,%02d", sign, whole, amount%100)
}

// times multiplies; false: the product has more than 64 bits.
func times(a, b int64) (int64, bool) {
	product := a * b
	return product, a == 0 || product/a == b && (a != -1 || b != math.MinInt64)
}
