"""Whether an answer is in the language of its question, as far as that is certain: by script, and by commonest words.

Scripts are certain. Among languages of one script only a clear majority of function words counts; where there is none,
in short answers and where a question holds two languages, nobody is blamed.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

import regex

from reward.words import is_ideograph, script, words

FEW = 2.0  # words in another script that any answer may hold: a name, a product
CERTAIN = 2  # different function words without which a question's language stays unknown
PROVEN = 3  # the same for an answer's
LONG = 10  # words of an answer from which on its function words are counted: less may be a title
IDEOGRAPH = 0.5  # of a word: Chinese and Japanese words have about two characters

_FUNCTION_WORDS = {
    "english": "the of and to is are was were this that it you i my your what where when how why who which with for"
    " on not do does can have has from by be will would there please but they he she if or as at"
    " summarize summarise explain describe write give tell text following",
    "german": "der die das und ist sind war ein eine einen nicht ich du sie wir mein meine ihr wie wo wann"
    " warum wer mit was will bin bist als oder aber wenn nur noch"
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
    "scandinavian": "og er det den ikke ikkje jeg eg du vi min din hvor når hvordan hvorfor hvem med for på av af til i"
    " som dette men også kan har at å fra eller",
    "romanian": "și este sunt un o nu în la cu pe de din care ce cum unde când pentru mai că eu tu este acest",
    "czech": "a v ve na je jsou se že to ten ta co jak kde kdy proč kdo s z do od pro ale nebo já ty není jsem",
    "croatian": "i u na je su se da što kako gdje kada zašto tko ko s iz do od za ali ili ja ti nije sam koji",
    "hungarian": "a az és egy nem van hogy ez mi hol mikor miért ki én te is meg de csak volt vagy kell",
    "finnish": "ja on ei se että mikä missä milloin miksi kuka minä sinä hän ovat oli mutta tai kun niin myös",
    "catalan": "el els la les i és són un una no jo tu on quan com què qui amb per en del està però que al",
}
_LANGUAGES_OF: dict[str, list[str]] = {}
for _language, _words in _FUNCTION_WORDS.items():
    for _word in _words.split():
        if len(_word) == 1 and _word.isascii():
            continue  # a single letter may be spelling, a variable or a grade
        _LANGUAGES_OF.setdefault(_word, []).append(_language)

_NOT_PROSE = regex.compile(
    r"""```.*?```|~~~.*?~~~|`[^`\n]+`|\$\$.*?\$\$     # fences, code in a line, formulas
    |https?://\S+|www\.\S+|[\w.+-]{1,64}@\w\S*       # addresses
    |["“”«»„「『《‹][^"“”«»„「」『』《》‹›\n]{1,60}["“”«»「」』》›]  # quotations and titles
    |^(?:[ ]{4}|\t)[^\n]*$  # lines that are code: indented, or begun or ended as code is
    |^[ ]*(?:import|from\ [\w.]+\ import|return|def|class|const|let|var|function|public|private|static|elif)\ [^\n]*$
    |^[^\n]*(?:[;{}]|\w\([^()\n]*\)[:;]?|\w\ *[-+*/]?=\ *[^\s=][^\n]*)[ \t]*$""",
    regex.VERBOSE | regex.DOTALL | regex.MULTILINE,
)
_CHINESE_ALONE = set(
    "这這们們吗嗎你您很她吧呢么麼还谁说对为请让给个时从东车书买见长门问间边过进哪怎"
)  # never in Japanese
_ANOTHER_ASKED = regex.compile(
    r"\b(?:translat|übersetz|tradu|vertal|översätt|tłumacz|перев[её]|перекла|çevir|terjemah)\w*"
    r"|\b(?:english|chinese|mandarin|cantonese|japanese|korean|german|french|spanish|portuguese|italian|dutch|swedish"
    r"|polish|turkish|indonesian|vietnamese|russian|ukrainian|arabic|persian|farsi|hebrew|hindi|thai|greek|latin"
    r"|danish|norwegian|finnish|czech|slovak|hungarian|romanian|bulgarian|serbian|croatian|catalan|urdu|bengali|tamil"
    r"|deutsch|englisch|französisch|spanisch|chinesisch|russisch|anglais|français|allemand|espagnol|chinois"
    r"|inglés|español|francés|alemán|inglês|português|inglese|italiano|tedesco|francese|engels|duits)\b"
    r"|\b(?:по-?\s?(?:русск|английск|немецк|китайск)|английск|русск|китайск|українськ|англійськ)\w*"
    r"|[英中汉漢法德日韩韓俄西葡阿泰意越]\s?[文语語]|日本語|韓国語|翻[译譯訳]|영어|한국어|중국어|일본어|번역",
    regex.IGNORECASE,
)


def prose(text: str) -> list[str]:
    """The words of a text without code, formulas, addresses, quotations and numbers, which are in no language."""
    return [word for word in words(_NOT_PROSE.sub(" ", unicodedata.normalize("NFKC", text))) if script(word)]


def asks_for_another(text: str) -> bool:
    """Whether a text names a language or asks for a translation, so that the answer may be in any language."""
    return bool(_ANOTHER_ASKED.search(text))


def language(written: Sequence[str], least: int = CERTAIN) -> str | None:
    """The language of some words by the function words among them; None where it is not clear.

    Clear is twice as many different ones as of any other language, and `least`.
    """
    kinds = {_plain(word) for word in written}
    hits = Counter(name for word in kinds for name in _LANGUAGES_OF.get(word, ()))
    ranking = hits.most_common(2)
    if not ranking or ranking[0][1] < least or (len(ranking) > 1 and ranking[0][1] < 2 * ranking[1][1]):
        return None
    return ranking[0][0]


def foreign_share(asked: str, answer: str) -> float:
    """Share of an answer's words that are not in the language in which somebody asked, 0 to 1.

    By script: names, which are words with a capital, are left out, and one or two words cost nothing. A question in two
    scripts may be answered in each that a third of it is in, and in that of its first word, "Summarise: ..." for
    instance. 1 where a long answer in the same script is clearly in another language of which the question holds no
    word.
    """
    question, reply = prose(asked), prose(answer)
    if not question or not reply:
        return 0.0
    counts = _writings(question)
    expected = {name for name, count in counts.items() if count > FEW and 3 * count >= sum(counts.values())}
    begun = list(takewhile(is_ideograph, question)) or question[:1]
    expected |= {max(counts, key=lambda name: counts[name]), *_writings(begun)}
    if expected & {"han", "chinese", "japanese"}:
        expected |= {"han"} if "han" not in expected else {"chinese", "japanese"}
    found = _writings([word for word in reply if script(word) in expected or not word[0].isupper()])
    foreign = sum(count for name, count in found.items() if name not in expected)
    if foreign > FEW:
        return foreign / sum(found.values())
    return float(len(reply) >= LONG and _speaks_another(question, reply))


def _speaks_another(question: Sequence[str], reply: Sequence[str]) -> bool:
    """Whether both are clearly in two languages, and the question holds no word of the answer's language alone."""
    spoken, answered = language(question), language(reply, PROVEN)
    if spoken is None or answered is None or spoken == answered:
        return False
    names = [_LANGUAGES_OF.get(_plain(word), []) for word in question]
    return not any(answered in each and spoken not in each for each in names)


def _plain(word: str) -> str:
    return word.casefold().replace("’", "'")


def _writings(written: Sequence[str]) -> dict[str, float]:
    """Words by script. Kana and Chinese characters are "japanese" or "chinese" together, "han" where either may be."""
    counts: dict[str, float] = {}
    for word in written:
        name = script(word)
        counts[name] = counts.get(name, 0) + (IDEOGRAPH if is_ideograph(word) else 1)
    kana, han = counts.pop("kana", 0), counts.pop("han", 0)
    if kana + han:
        chinese = "chinese" if kana < 0.05 * han and not _CHINESE_ALONE.isdisjoint(written) else "han"
        counts["japanese" if kana >= 0.3 * (kana + han) else chinese] = kana + han
    return counts
