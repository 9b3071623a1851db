"""Which language a text is in, as far as that is certain: by script, and by its commonest words.

Scripts are certain. Among languages of one script only a clear majority of function words counts; where there is none
the answer is "unknown", and nobody is blamed.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

import regex

from reward.words import script, words

FEW = 2  # words in another script that any answer may hold: a name, a product
CERTAIN = 2  # function words without which a language stays unknown

_FUNCTION_WORDS = {
    "english": "the of and to is are was were this that it you i my your what where when how why who which with for"
    " on not do does can have has from by be will would there please",
    "german": "der die das und ist sind war ein eine einen nicht ich du sie wir mein meine ihr wie wo wann"
    " warum wer mit"
    " für auf von zu den dem im bitte kann hat haben wird es auch",
    "french": "le la les des et est sont une un pas je tu vous nous mon ma votre où quand comment pourquoi qui"
    " avec pour"
    " dans du ce cette il elle sur au aux été que c'est qu'il",
    "spanish": "el los las y es son una un no yo tú usted mi su dónde cuándo cómo qué quién con para en del por está"
    " están este esta pero lo al se le que la muy",
    "portuguese": "o os as e é são uma um não eu você meu minha seu onde quando como quem com para em do da dos"
    " das no na"
    " está este esta mas por ao que muito",
    "italian": "il lo gli e è sono una un non io tu lei mio mia dove quando come perché chi con per nel della"
    " del dei di"
    " che questo questa ma anche la si ha al",
    "dutch": "de het een en is zijn was niet ik jij je u wij mijn uw waar wanneer hoe waarom wie met voor op van te in"
    " dat dit maar ook kan heeft wordt er",
    "swedish": "och är en ett det den inte jag du vi min mitt ditt var när hur varför vem med för på av till i"
    " som detta"
    " men också kan har att",
    "polish": "i w nie się na jest są to że ja ty mój moja gdzie kiedy jak dlaczego kto co z do od dla ten ta ale"
    " czy po",
    "turkish": "ve bir bu ne nerede nasıl için ile değil ben sen benim da de mi mı var yok ama çok daha olarak kim",
    "indonesian": "yang dan di ini itu tidak saya anda ada untuk dengan dari ke apa mana kapan adalah akan bisa dalam",
    "vietnamese": "là của và không tôi bạn có một những cho với ở đâu khi nào này đó được trong các như thế gì",
    "russian": "и в не на что я с как это по но где когда мой моя вы он она мы для от из у есть был за так же почему",
    "ukrainian": "і в не на що я з як це по але де коли мій моя ви він вона ми для від із у є був за так та чому",
    "arabic": "في من على إلى هذا هذه ما أين متى كيف هل أنا أنت هو هي لا عن مع كان التي الذي أن",
    "persian": "در از به که این آن را با است برای من شما کجا چه چرا نیست هست می و یک",
}
_LETTERS = {  # that only one of these languages has
    "german": "ß",
    "french": "œ",
    "spanish": "ñ",
    "portuguese": "ãõ",
    "swedish": "å",
    "polish": "ąęłńśźż",
    "turkish": "ğış",
    "vietnamese": "đơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
    "russian": "ыэъё",
    "ukrainian": "іїєґ",
    "persian": "پچژگ",
}
_OF_WORD: dict[str, set[str]] = {}
for _language, _words in _FUNCTION_WORDS.items():
    for _word in _words.split():
        _OF_WORD.setdefault(_word, set()).add(_language)
_OF_LETTER = {letter: name for name, letters in _LETTERS.items() for letter in letters}

_NOT_PROSE = regex.compile(
    r"""```.*?```|~~~.*?~~~|`[^`\n]+`|\$\$.*?\$\$     # fences, code in a line, formulas
    |https?://\S+|www\.\S+|\b[A-Za-z0-9._%+-]{1,64}@[\w.-]+  # addresses
    |^[^\n]*(?:[])}"';];|[{}]|\w\((?!s\))[^\n]{0,80}\)[:;]?|\w\ *[-+*/]?=\ *[^\s=][^\n]*)[ \t]*$
    |^[ \t]*(?:def|class|for|while|if|elif|else|try|except|with)\b[^\n]*:[ \t]*$  # with the line above: code""",
    regex.VERBOSE | regex.DOTALL | regex.MULTILINE,
)
_PART = regex.compile(r"[:\n]")
_ANOTHER_ASKED = regex.compile(
    r"\b(?:translat|übersetz|tradu|vertal|översätt|tłumacz|перев[её]|перекла|çevir|terjemah)\w*"
    r"|\b(?:english|chinese|mandarin|cantonese|japanese|korean|german|french|spanish|portuguese|italian|dutch|swedish"
    r"|polish|turkish|indonesian|vietnamese|russian|ukrainian|arabic|persian|farsi|hebrew|hindi|thai|greek|latin"
    r"|deutsch|englisch|französisch|spanisch|chinesisch|russisch|anglais|français|allemand|espagnol|chinois"
    r"|inglés|español|francés|alemán|inglês|português|inglese|italiano|tedesco|francese|engels|duits)\b"
    r"|\b(?:по-?\s?(?:русск|английск|немецк|китайск)|английск|русск|китайск|українськ|англійськ)\w*"
    r"|[英中汉漢法德日韩韓俄西葡阿泰意越]\s?[文语語]|日本語|韓国語|翻[译譯訳]|영어|한국어|중국어|일본어|번역",
    regex.IGNORECASE,
)


def prose(text: str) -> list[str]:
    """The words of a text without code, formulas and addresses, which are in no language."""
    return _lettered(_plain(text))


def _plain(text: str) -> str:
    return _NOT_PROSE.sub(" ", unicodedata.normalize("NFKC", text))


def _lettered(text: str) -> list[str]:
    return [word for word in words(text) if script(word)]


def asks_for_another(text: str) -> bool:
    """Whether a text names a language or asks for a translation, so that the answer may be in any language."""
    return bool(_ANOTHER_ASKED.search(text))


def language(written: Sequence[str]) -> str | None:
    """The language of some words by function words and by letters of its own; None where it is not clear."""
    distinct = {word.casefold().replace("’", "'") for word in written}
    hits = Counter(name for word in distinct for name in _languages_of(word))
    ranking = hits.most_common(2)
    if not ranking or ranking[0][1] < CERTAIN or (len(ranking) > 1 and ranking[0][1] < 2 * ranking[1][1]):
        return None
    return ranking[0][0]


def _languages_of(word: str) -> set[str]:
    """The languages that a word speaks for: as a function word, or by a letter in it."""
    named = _OF_WORD.get(word, set())
    return named if word.isascii() else named | {_OF_LETTER[letter] for letter in word if letter in _OF_LETTER}


def foreign_share(asked: str, answer: str) -> float:
    """Share of an answer's words that are not in the language in which somebody asked, 0 to 1.

    0 where the question has no word, names a language or asks for a translation, and where an answer holds one or two
    foreign words, or none at all. 1 where both are clearly in two languages, be it of one script. What stands before
    and after a colon or on two lines may be in two languages ("Summarise this: ..."), and the answer in either.
    """
    question, reply = prose(asked), prose(answer)
    if not question or not reply or asks_for_another(asked):
        return 0.0
    parts = [part for piece in _PART.split(_plain(asked)) if len(part := _lettered(piece)) > 1] or [question]
    spoken, answered = {language(part) for part in parts}, language(reply)
    if answered and None not in spoken and answered not in spoken:
        return 1.0
    counts = _writings(question)
    expected = {name for name, count in counts.items() if 3 * count >= len(question)}
    expected |= {_writings(part).most_common(1)[0][0] for part in parts}
    if expected & {"han", "chinese", "japanese"}:
        expected |= {"han"} if "han" not in expected else {"chinese", "japanese"}
    foreign = sum(count for name, count in _writings(reply).items() if name not in expected)
    return foreign / len(reply) if foreign > FEW else 0.0


def _writings(written: Sequence[str]) -> Counter[str]:
    """Words by script. Kana and Chinese characters are "japanese" or "chinese" together, "han" where either may be."""
    counts = Counter(script(word) for word in written)
    kana, han = counts.pop("kana", 0), counts.pop("han", 0)
    if kana + han:
        chinese = "chinese" if han >= 8 and kana < 0.05 * han else "han"
        counts["japanese" if kana >= 0.3 * (kana + han) else chinese] = kana + han
    return counts
